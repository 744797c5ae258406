-- How complete the data are that the other marts are made of: rows, when they last changed, and what is missing.
-- columns:
--   rows: {range: {min: 1}}
--   missing: {null_rate: 0%}
-- checks:
--   - unique: [name]
SELECT 'hr.employee' AS name, count(*) AS rows, max(_loaded_at) AS last_change,
       count(*) FILTER (WHERE email IS NULL) AS missing, 'e-mail' AS what
FROM hr.employee
UNION ALL
SELECT 'hr.contract', count(*), max(_loaded_at), count(*) FILTER (WHERE terms ->> 'grade' IS NULL), 'grade'
FROM hr.contract
UNION ALL
SELECT 'records.student', count(*), max(_loaded_at), count(*) FILTER (WHERE born_on IS NULL), 'date of birth'
FROM records.student
UNION ALL
SELECT 'records.exam_result', count(*), max(_loaded_at),
       count(*) FILTER (WHERE mark IS NULL AND state <> 'absent'), 'mark'
FROM records.exam_result
UNION ALL
SELECT 'service_desk.ticket', count(*), max(_loaded_at), count(*) FILTER (WHERE assignee_id IS NULL), 'assignee'
FROM service_desk.ticket
