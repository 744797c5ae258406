-- Who has the advisory lock of a table, whose steps are done one at a time. Parameter: the lock's name.
SELECT l.pid, coalesce(a.usename::text, a.backend_type) AS role, coalesce(a.xact_start, a.query_start) AS since
FROM pg_locks AS l
LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.pid <> pg_backend_pid()
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND ((l.classid::bigint << 32) | l.objid::bigint) = hashtextextended(%s, 0)
