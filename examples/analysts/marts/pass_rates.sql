-- How many passed, of those who sat, by course and sitting. Marks that are not final yet do not count.
-- materialize: table
-- indexes: [course, held_on]
-- columns:
--   pass_rate: {range: {min: 0, max: 1}}
-- checks:
--   - rows: {min: 300, change: 30%}
--   - unique: [course, held_on]
SELECT
    c.code AS course,
    c.title,
    x.held_on,
    count(*) AS sat,
    count(*) FILTER (WHERE r.passed) AS passed,
    round(avg(r.passed::int), 3) AS pass_rate,
    round(avg(r.mark), 1) AS average_mark
FROM records.exam_result AS r
JOIN records.exam_sitting AS x ON x.id = r.sitting_id
JOIN records.course AS c ON c.id = x.course_id
WHERE r.state = 'final' AND r.mark IS NOT NULL
GROUP BY c.code, c.title, x.held_on
