-- How each table fares, and each source's own step: what it shows and since when, when it was first tried, and
-- how often and how it failed since it was last loaded (a source: since its snapshot was last taken; a mart: since
-- it was last built).
-- Parameters: since (steps that began before that are not looked at), own_tasks (a source's own step, a mart's).
WITH loaded AS (
    SELECT source || '.' || table_name AS name, snapshot_at, loaded_at FROM ops.watermark
    UNION ALL
    SELECT name, (array_agg((detail ->> 'fresh_as_of')::timestamptz ORDER BY finished_at DESC))[1], max(finished_at)
    FROM ops.step
    WHERE task = ANY(%(own_tasks)s) AND state = 'done' AND started_at >= %(since)s
    GROUP BY name
),
tried AS (
    SELECT name, min(started_at) AS first_tried_at FROM ops.step WHERE started_at >= %(since)s GROUP BY name
),
failed AS (
    SELECT DISTINCT ON (s.name)
        s.name, s.task, s.run, coalesce(s.error, 'no reason is known') AS error, s.exit_code, s.hint, s.detail ->> 'again' AS again,
        min(s.started_at) OVER (PARTITION BY s.name) AS failing_since,
        count(*) OVER (PARTITION BY s.name) AS runs
    FROM ops.step s LEFT JOIN loaded l ON l.name = s.name
    WHERE s.state = 'failed' AND s.started_at >= %(since)s
      AND (l.loaded_at IS NULL OR coalesce(s.finished_at, s.started_at) > l.loaded_at)
    ORDER BY s.name, s.started_at DESC
)
SELECT
    name, l.snapshot_at AS fresh_as_of, l.loaded_at, t.first_tried_at,
    f.task, f.run, f.error, f.exit_code, f.failing_since AS since, f.runs, f.hint, f.again
FROM loaded l FULL JOIN tried t USING (name) LEFT JOIN failed f USING (name)
