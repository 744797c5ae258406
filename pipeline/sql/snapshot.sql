-- Export this transaction's snapshot, and say what it is and in which server's history.
SELECT
    pg_export_snapshot(),
    pg_current_snapshot()::text,
    clock_timestamp(),
    pg_snapshot_xmin(pg_current_snapshot())::text::bigint,
    pg_snapshot_xmax(pg_current_snapshot())::text::bigint,
    (SELECT system_identifier::text FROM pg_control_system()),
    (SELECT timeline_id FROM pg_control_checkpoint())
