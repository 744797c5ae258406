-- Annual leave by department and year: what people are owed (25 days for a full year), have taken, and have left.
-- columns:
--   taken: {range: {min: 0}}
-- checks:
--   - unique: [department, year]
--   - rows: {min: 16}
WITH years AS (
    SELECT DISTINCT extract(year FROM first_day)::int AS year FROM hr.leave_request
), owed AS (
    SELECT e.department_code, y.year, sum(
        25.0 * (least(coalesce(e.left_on, 'infinity'), make_date(y.year, 12, 31))
                - greatest(e.hired_on, make_date(y.year, 1, 1)) + 1) / 365) AS days
    FROM hr.employee AS e
    JOIN years AS y ON extract(year FROM e.hired_on) <= y.year
        AND (e.left_on IS NULL OR extract(year FROM e.left_on) >= y.year)
    GROUP BY 1, 2
), taken AS (
    SELECT e.department_code, extract(year FROM l.first_day)::int AS year, sum(l.days) AS days
    FROM hr.leave_request AS l
    JOIN hr.employee AS e ON e.id = l.employee_id
    WHERE l.kind = 'annual' AND l.state = 'approved'
    GROUP BY 1, 2
)
SELECT
    d.name AS department,
    o.year,
    round(o.days, 1) AS owed,
    coalesce(t.days, 0) AS taken,
    round(o.days - coalesce(t.days, 0), 1) AS remaining
FROM owed AS o
JOIN hr.department AS d ON d.code = o.department_code
LEFT JOIN taken AS t USING (department_code, year)
