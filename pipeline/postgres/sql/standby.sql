-- What is wrong with how a standby follows its primary; null if nothing is, or if this is a primary.
-- An idle primary is not a standby that lags: only what was received and not replayed counts.
-- Parameters: hours.
SELECT CASE
    WHEN NOT pg_is_in_recovery() THEN NULL
    WHEN pg_is_wal_replay_paused() THEN 'has stopped its replay'
    WHEN NOT EXISTS (SELECT FROM pg_stat_wal_receiver WHERE pid IS NOT NULL) THEN
        'does not stream from its primary (its last transaction is of '
        || coalesce(date_trunc('second', pg_last_xact_replay_timestamp())::text, 'unknown time') || ')'
    WHEN pg_last_wal_receive_lsn() <> pg_last_wal_replay_lsn()
        AND pg_last_xact_replay_timestamp() < clock_timestamp() - make_interval(hours => %(hours)s) THEN
        'is behind its primary by ' || date_trunc('second', clock_timestamp() - pg_last_xact_replay_timestamp())
END
