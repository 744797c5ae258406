-- The service desk by week and category: tickets opened and solved, and how long that took (median and 90 %).
-- materialize: table
-- indexes: [week, category]
-- columns:
--   median_hours: {range: {min: 0}}
-- checks:
--   - unique: [week, category]
--   - rows: {min: 500, change: 30%}
SELECT
    date_trunc('week', t.opened_at AT TIME ZONE 'UTC')::date AS week,
    c.name AS category,
    count(*) AS opened,
    count(t.solved_at) AS solved,
    round(percentile_cont(0.5) WITHIN GROUP (ORDER BY t.hours_to_solve)::numeric, 1) AS median_hours,
    round(percentile_cont(0.9) WITHIN GROUP (ORDER BY t.hours_to_solve)::numeric, 1) AS slow_hours
FROM service_desk.ticket AS t
JOIN service_desk.category AS c ON c.id = t.category_id
GROUP BY 1, 2
