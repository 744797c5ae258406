-- A day of work in human resources: what the night after has to find.

-- Outside the transaction: a new value can be used only when it is committed.
ALTER TYPE leave_kind ADD VALUE IF NOT EXISTS 'study';

BEGIN;
-- The shape changes: one column that is empty, one with a default that rewrites no row.
ALTER TABLE employee ADD COLUMN pronouns text;
ALTER TABLE department ADD COLUMN cost_centre text NOT NULL DEFAULT 'CC-000';

-- A key changes, and follows into the rows that refer to it; neither table says when.
UPDATE department SET code = 'LIBR', name = 'Law Library and Archives' WHERE code = 'LIB';
UPDATE department SET cost_centre = 'CC-410', budget = budget * 1.02 WHERE code IN ('IT', 'FIN');

INSERT INTO employee (staff_number, given_name, family_name, email, national_id, department_code, manager_id, hired_on,
                      languages, pronouns, updated_at)
SELECT 'S' || 900000 + n, 'New', E'O\'Starter\\' || n, 'new' || n || '@law.example.edu', lpad(n::text, 10, '9'), 'LIBR',
       1 + n % 40, date '2026-11-23', '{en,mi}', CASE WHEN n % 3 = 0 THEN 'they/them' END, '2026-11-22 09:00Z'
FROM generate_series(1, 25) AS n;

INSERT INTO contract (id, employee_id, kind, period, hours_per_week, terms, note, updated_at)
SELECT md5('day 2 contract' || e.id)::uuid, e.id, 'fixed_term', daterange('2026-11-23', '2027-11-23'), 37.5,
       '{"grade": 4, "probation": true}', NULL, '2026-11-22 09:05Z'
FROM employee e WHERE e.staff_number LIKE 'S9%';

INSERT INTO leave_request (employee_id, kind, state, first_day, last_day, reason, updated_at)
SELECT n * 7, 'study', 'requested', date '2027-02-01', date '2027-02-05', 'Bar examination', '2026-11-22 10:00Z'
FROM generate_series(1, 60) AS n;

UPDATE leave_request SET state = 'approved', updated_at = '2026-11-22 11:00Z'
WHERE state = 'requested' AND id % 3 = 0;
-- Some rows change and nobody notes when.
UPDATE leave_request SET reason = 'corrected by HR' WHERE id % 900 = 0;
UPDATE payroll.salary SET amount = amount + 250 WHERE valid_from = '2025-07-01' AND employee_id % 10 = 0;
UPDATE employee SET left_on = '2026-11-22', updated_at = '2026-11-22 12:00Z' WHERE left_on IS NULL AND id % 150 = 0;

DELETE FROM leave_request WHERE state = 'cancelled' AND id % 5 = 0;
DELETE FROM payroll.salary WHERE valid_from = '2021-07-01' AND employee_id % 40 = 0;

INSERT INTO badge_event SELECT badge, door, passed_at + interval '7 days', reader FROM badge_event WHERE badge % 20 = 0;
DELETE FROM badge_event WHERE passed_at < '2026-11-16 12:00Z';

COMMENT ON DATABASE hr IS 'day 2';
COMMIT;
