-- Who has one of these tables for himself alone, or waits for that; who has it first, the longest first. Of other
-- roles' sessions the time is known to members of pg_read_all_stats only. Parameter: the tables' oids.
SELECT
    format('%%I.%%I', n.nspname, c.relname) AS table_name, l.pid,
    coalesce(a.usename::text, a.backend_type) AS role, a.xact_start AS since
FROM pg_locks AS l
JOIN pg_class AS c ON c.oid = l.relation
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.relation = ANY(%s::oid[])
  AND l.pid IS DISTINCT FROM pg_backend_pid()
ORDER BY l.granted DESC, a.xact_start, l.pid
LIMIT 1
