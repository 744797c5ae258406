-- The load that each table shows, as a step of the run that did it, and how each mart was last built.
-- Parameters: load_task, build_task.
SELECT s.run, s.task, s.name, s.state, s.started_at, s.finished_at, s.rows, s.detail, s.error, s.exit_code, s.hint
FROM ops.watermark w
JOIN ops.step s ON s.run = w.run AND s.name = w.source || '.' || w.table_name
WHERE s.task = %(load_task)s AND s.state = 'done'
UNION ALL
(
    SELECT DISTINCT ON (name)
        run, task, name, state, started_at, finished_at, rows, detail, error, exit_code, hint
    FROM ops.step WHERE task = %(build_task)s AND state = 'done'
    ORDER BY name, finished_at DESC
)
