-- Numbers that only grow in one history of a primary: where it writes its log, and what its database has counted. What
-- was put back to an earlier copy begins again with less, and so does what crashed: its counts are thrown away then.
-- A standby has counts of its own, and none is told of it.
SELECT
    (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint AS wal,
    xact_commit + xact_rollback AS transactions,
    tup_inserted AS inserted,
    tup_updated AS updated,
    tup_deleted AS deleted,
    tup_returned + tup_fetched AS read,
    blks_read + blks_hit AS blocks
FROM pg_stat_database
WHERE datname = current_database() AND NOT pg_is_in_recovery()
