-- Who keeps the horizon of a moment back: transactions that have written and not ended, in any database of the
-- server, the oldest first. Of other roles' sessions the time is known to members of pg_read_all_stats only.
SELECT 'prepared transaction "' || x.gid || '"' AS what, x.owner::text AS owner, x.prepared AS since,
    x.transaction::text::bigint AS number
FROM pg_prepared_xacts AS x
UNION ALL
SELECT 'process ' || a.pid || coalesce(' (' || a.state || ')', ''), a.usename::text, a.xact_start,
    a.backend_xid::text::bigint
FROM pg_stat_activity AS a
WHERE a.backend_xid IS NOT NULL AND a.pid <> pg_backend_pid()
ORDER BY since NULLS FIRST, what
