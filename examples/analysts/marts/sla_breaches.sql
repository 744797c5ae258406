-- Which solved tickets took longer than their category allows, by month, category and priority. A category without a
-- target of its own has that of the one above it; where neither has one, nothing can be late.
-- columns:
--   breach_rate: {range: {min: 0, max: 1}}
-- checks:
--   - unique: [month, category, priority]
--   - sql: select * from {table} where breached > solved
WITH RECURSIVE target AS (
    SELECT id, name, target_hours FROM service_desk.category WHERE parent_id IS NULL
    UNION ALL
    SELECT c.id, c.name, coalesce(c.target_hours, target.target_hours)
    FROM service_desk.category AS c JOIN target ON target.id = c.parent_id
)
SELECT
    date_trunc('month', t.solved_at AT TIME ZONE 'UTC')::date AS month,
    target.name AS category,
    t.priority::text AS priority,
    count(*) AS solved,
    count(*) FILTER (WHERE t.hours_to_solve > target.target_hours) AS breached,
    round(avg((t.hours_to_solve > target.target_hours)::int), 3) AS breach_rate
FROM service_desk.ticket AS t
JOIN target ON target.id = t.category_id
WHERE t.solved_at IS NOT NULL AND target.target_hours IS NOT NULL
GROUP BY 1, 2, 3
