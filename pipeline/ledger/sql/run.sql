-- The latest run of a name, by logical date and not by who typed last; or the one with a given logical date; or,
-- of those that are said to be running, the one that was begun last. A date that is still to come (somebody has
-- mistyped it) is no latest one, unless there are no others.
-- A run holds an advisory lock of its name for as long as its process lives.
-- Parameters: name, run (or null), going (whether only what is said to be running).
SELECT
    r.run, r.name, r.state, r.started_at, r.attempted_at, r.attempts, r.finished_at, r.host, r.pid, r.error, r.scope,
    EXISTS (
        SELECT 1 FROM pg_locks l
        WHERE l.locktype = 'advisory' AND l.granted
          AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND ((l.classid::bigint << 32) | l.objid::bigint) = hashtextextended('run ' || r.name, 0)
          AND l.objsubid = 1
    ) AND r.state = 'running' AS alive
FROM ops.run r
WHERE r.name = %(name)s AND (r.run = %(run)s OR %(run)s IS NULL) AND (r.state = 'running' OR NOT %(going)s)
ORDER BY
    CASE WHEN %(going)s THEN r.attempted_at END DESC NULLS LAST,
    r.run COLLATE "C" > to_char(clock_timestamp() AT TIME ZONE 'UTC' + interval '1 day', 'YYYY-MM-DD"T"HH24MI'),
    r.run COLLATE "C" DESC
LIMIT 1
