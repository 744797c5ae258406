-- Begins a run, or another attempt at it: when it was first begun stays. What it is to do adds up; an empty scope
-- is everything.
-- Parameters: run, name, host, pid, scope (names of sources and tables).
INSERT INTO ops.run AS r (run, name, state, host, pid, scope, started_at, attempted_at)
VALUES (
    %(run)s, %(name)s, 'running', %(host)s, %(pid)s, %(scope)s, statement_timestamp(), statement_timestamp()
)
ON CONFLICT (run, name) DO UPDATE SET
    state = 'running', attempted_at = excluded.attempted_at, attempts = r.attempts + 1, finished_at = NULL, error = NULL,
    host = excluded.host, pid = excluded.pid,
    scope = CASE
        WHEN r.scope = '{}' OR excluded.scope = '{}' THEN '{}'
        ELSE ARRAY(SELECT DISTINCT name FROM unnest(r.scope || excluded.scope) AS name ORDER BY name)
    END
