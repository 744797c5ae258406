-- Whom sessions wait for: what they wait for, if that is a table, and who is in the way, the longest there first. Of
-- other roles' sessions the time is known to members of pg_read_all_stats only. Parameter: the sessions' pids.
SELECT DISTINCT
    CASE WHEN c.oid IS NOT NULL THEN format('%%I.%%I', n.nspname, c.relname) END AS table_name,
    nullif(b.pid, 0) AS pid, coalesce(a.usename::text, a.backend_type) AS role,
    coalesce(a.xact_start, a.query_start) AS since
FROM unnest(%s::int[]) AS w (pid)
CROSS JOIN LATERAL unnest(pg_blocking_pids(w.pid)) AS b (pid)
LEFT JOIN pg_stat_activity AS a ON a.pid = b.pid
LEFT JOIN pg_locks AS l ON l.pid = w.pid AND NOT l.granted AND l.locktype = 'relation'
LEFT JOIN pg_class AS c ON c.oid = l.relation
LEFT JOIN pg_namespace AS n ON n.oid = c.relnamespace
ORDER BY since, pid
LIMIT 5
