-- Who works here now: people and full-time equivalents by department and grade, by the contract that is in force.
-- materialize: table
-- indexes: [department]
-- columns:
--   people: {range: {min: 1}}
--   fte: {range: {min: 0}}
-- checks:
--   - rows: {min: 50, change: 30%}
--   - unique: [department, grade]
WITH in_force AS (
    SELECT DISTINCT ON (employee_id)
        employee_id, (terms ->> 'grade')::int AS grade, hours_per_week
    FROM hr.contract
    WHERE period @> current_date
    ORDER BY employee_id, lower(period) DESC
)
SELECT
    d.name AS department,
    c.grade,
    count(*) AS people,
    round(sum(c.hours_per_week) / 37.5, 1) AS fte
FROM hr.employee AS e
JOIN hr.department AS d ON d.code = e.department_code
JOIN in_force AS c ON c.employee_id = e.id
WHERE e.left_on IS NULL OR e.left_on > current_date
GROUP BY d.name, c.grade
