-- Which steps wait for the lock of their table. Who waits holds a lock that says so, and his session is called
-- pipeline RUN TASK. Parameter: the names of tables, such as hr.employee.
SELECT DISTINCT t.name, a.application_name AS session
FROM unnest(%s::text[]) AS t (name)
CROSS JOIN hashtextextended('wait ' || t.name, 0) AS k (key)
JOIN pg_locks AS l ON (l.classid::bigint << 32) | l.objid::bigint = k.key
JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND a.application_name ~ '^pipeline [0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{4})? [A-Za-z]+$'
ORDER BY t.name, a.application_name
