-- How many students began each programme in each intake, and what they still owe.
-- materialize: table
-- indexes: [[programme, intake]]
-- columns:
--   students: {range: {min: 1}}
-- checks:
--   - rows: {min: 50, change: 30%}
--   - unique: [programme, intake]
--   - relationship: {columns: programme, to: records.programme, to_columns: code}
SELECT
    p.code AS programme,
    p.title,
    p.level::text AS level,
    s.started_on AS intake,
    count(*) AS students,
    count(*) FILTER (WHERE s.fees_owed > 0) AS owing,
    sum(s.fees_owed) AS fees_owed
FROM records.student AS s
JOIN records.programme AS p ON p.code = s.programme_code
GROUP BY p.code, p.title, p.level, s.started_on
