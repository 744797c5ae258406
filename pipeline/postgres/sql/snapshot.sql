-- Export this transaction's snapshot, and say what it is and in which server's history.
SELECT
    pg_export_snapshot() AS identifier,
    pg_current_snapshot()::text AS seen,
    clock_timestamp() AS taken_at,
    pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS horizon,
    pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next_transaction,
    -- The number of a database as well: what is made of another one as its template (an older copy, say) has
    -- the very tables of that, by their oids, and shares the server's transaction ids.
    (
        SELECT c.system_identifier || '/' || d.oid
        FROM pg_control_system() c, pg_database d WHERE d.datname = current_database()
    ) AS system_identifier,
    -- After a failover the last checkpoint may still be of the timeline before.
    CASE
        WHEN pg_is_in_recovery() THEN (
            SELECT greatest(c.timeline_id, r.min_recovery_end_timeline)
            FROM pg_control_checkpoint() c, pg_control_recovery() r
        )
        ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer
    END AS timeline
