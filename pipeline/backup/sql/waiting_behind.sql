-- Who waits to have a table for himself that this session reads, while another session of this role waits behind
-- him: he waits for us, and we wait for him, which no server can see.
SELECT
    format('%I.%I', n.nspname, c.relname) AS table_name, w.pid,
    coalesce(a.usename::text, a.backend_type) AS role, a.xact_start AS since
FROM pg_locks AS w
JOIN pg_class AS c ON c.oid = w.relation
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_stat_activity AS a ON a.pid = w.pid
WHERE w.locktype = 'relation' AND NOT w.granted AND w.mode = 'AccessExclusiveLock'
  AND w.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND EXISTS (
      SELECT FROM pg_locks AS d
      JOIN pg_stat_activity AS s ON s.pid = d.pid
      WHERE d.locktype = 'relation' AND NOT d.granted AND d.mode = 'AccessShareLock'
        AND (d.database, d.relation) = (w.database, w.relation)
        AND s.usename = session_user
  )
  AND pg_backend_pid() = ANY(pg_blocking_pids(w.pid))
ORDER BY w.pid
LIMIT 1
