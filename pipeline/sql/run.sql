-- The latest run of a name, or the one with a given logical date.
-- A run holds an advisory lock of its name for as long as its process lives.
-- Parameters: name, run (or null).
SELECT
    r.run, r.name, r.state, r.started_at, r.finished_at, r.host, r.pid, r.error,
    EXISTS (
        SELECT 1 FROM pg_locks l
        WHERE l.locktype = 'advisory' AND l.granted
          AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND ((l.classid::bigint << 32) | l.objid::bigint) = hashtextextended('run ' || r.name, 0)
          AND l.objsubid = 1
    ) AND r.state = 'running'
FROM ops.run r
WHERE r.name = %(name)s AND (r.run = %(run)s OR %(run)s IS NULL)
ORDER BY r.started_at DESC
LIMIT 1
