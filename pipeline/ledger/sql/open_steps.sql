-- The newest step of each table, and of each source as such, that failed or is said to be running, unless the table
-- was loaded since (the source: its snapshot was taken since), whichever run it was in.
-- Parameters: since (steps that began before that are not looked at), own_tasks (a source's own step, a mart's).
WITH loaded AS (
    SELECT source || '.' || table_name AS name, loaded_at FROM ops.watermark
    UNION ALL
    SELECT name, max(finished_at) FROM ops.step
    WHERE task = ANY(%(own_tasks)s) AND state = 'done' AND started_at >= %(since)s
    GROUP BY name
)
SELECT DISTINCT ON (s.name)
    s.run, s.task, s.name, s.state, s.started_at, s.finished_at, s.rows, s.detail, s.error, s.exit_code, s.hint
FROM ops.step s LEFT JOIN loaded l ON l.name = s.name
WHERE s.state IN ('failed', 'running') AND s.started_at >= %(since)s
  AND (l.loaded_at IS NULL OR coalesce(s.finished_at, s.started_at) > l.loaded_at)
ORDER BY s.name, s.started_at DESC
