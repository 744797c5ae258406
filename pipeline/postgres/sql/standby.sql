-- A standby that does not have all of its primary: in which way, and until when it has everything. No row if this
-- is a primary, or all that there is was replayed: an idle primary is not a standby that lags.
-- The moment is the primary's own, of its last transaction or checkpoint that was replayed: it has that at least.
-- Parameters: hours, that it may be behind without a word.
WITH standby AS (
    SELECT
        pg_is_wal_replay_paused() AS paused,
        EXISTS (SELECT FROM pg_stat_wal_receiver WHERE pid IS NOT NULL) AS streams,
        -- Less was received than replayed where the stream began again, with the segment that it was in.
        coalesce(pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn(), false) AS waits,
        least(
            greatest(pg_last_xact_replay_timestamp(), (SELECT c.checkpoint_time FROM pg_control_checkpoint() AS c)),
            clock_timestamp()
        ) AS reached
    WHERE pg_is_in_recovery()
)
SELECT
    CASE
        WHEN paused THEN 'has stopped its replay'
        WHEN NOT streams THEN 'does not stream from its primary'
        ELSE 'is behind its primary'
    END AS behind,
    reached AS shows_until
FROM standby
WHERE (waits OR NOT streams) AND reached < clock_timestamp() - make_interval(hours => %(hours)s)
