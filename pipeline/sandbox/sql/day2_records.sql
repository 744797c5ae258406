-- A day of work in student records: what the night after has to find.

-- Outside the transaction: a new value can be used only when it is committed.
ALTER TYPE result_state ADD VALUE IF NOT EXISTS 'deferred';

BEGIN;
-- The shape changes: one column that is empty, one with a default that rewrites no row.
ALTER TABLE course ADD COLUMN syllabus_url text;
ALTER TABLE student ADD COLUMN photo_consent boolean NOT NULL DEFAULT false;

-- A key changes, and follows into the rows that refer to it.
UPDATE programme SET code = 'LLMTX' WHERE code = 'LLMTAX';

INSERT INTO student (given_name, family_name, email, born_on, programme_code, started_on, photo_consent, updated_at)
SELECT 'Late', 'Entrant ' || n, 'late' || n || '@student.law.example.edu', date '2003-05-05' + n, 'LLB', '2027-02-15',
       n % 2 = 0, '2026-11-22 08:30Z'
FROM generate_series(1, 120) AS n;

INSERT INTO enrolment
SELECT s.id, 1 + s.id % 320, '2027A', 'enrolled', '2026-11-22 08:40Z', NULL
FROM student s WHERE s.family_name LIKE 'Entrant %';

UPDATE enrolment SET state = 'completed', grade_points = 6.50 WHERE term = '2026A' AND student_id % 20 = 0;
-- The key of a row changes: a student was enrolled in the wrong term.
UPDATE enrolment SET term = '2026B' WHERE term = '2026A' AND student_id % 450 = 1;
DELETE FROM enrolment WHERE state = 'withdrawn' AND student_id % 6 = 0;

UPDATE exam_result SET state = 'final', mark = least(mark + 1.25, 100) WHERE state = 'provisional' AND student_id % 4 = 0;
UPDATE exam_result SET state = 'deferred', remark = NULL WHERE state = 'absent' AND student_id % 2 = 0;
DELETE FROM exam_result WHERE student_id % 1000 = 7;

UPDATE student SET fees_owed = 0, updated_at = '2026-11-22 13:00Z' WHERE fees_owed > 0 AND id % 25 = 0;
DELETE FROM student WHERE id % 1500 = 42;
UPDATE course SET syllabus_url = 'https://law.example.edu/syllabus/' || code, updated_at = '2026-11-22 14:00Z'
WHERE id % 16 = 0;

UPDATE "ScholarshipAward" SET "Amount" = "Amount" + 100 WHERE "Id" % 50 = 0;
INSERT INTO "ScholarshipAward" ("studentId", "Amount", "awardedOn", "citation text")
VALUES (500100, 12500.00, '2026-11-22', E'Dean''s prize\n"summa cum laude"');

COMMENT ON DATABASE records IS 'day 2';
COMMIT;
