-- A law school's student records: students, programmes, courses, enrolments, examinations (about 113,000 rows).
-- Every value follows from its row's number and a fixed seed, so that every sandbox holds the same rows.

CREATE FUNCTION pg_temp.roll(what text, n bigint) RETURNS bigint LANGUAGE sql IMMUTABLE
RETURN hashtextextended(what || n::text, 20261122) & 9223372036854775807;

CREATE FUNCTION pg_temp.pick(options text[], what text, n bigint) RETURNS text LANGUAGE sql IMMUTABLE
RETURN options[1 + pg_temp.roll(what, n) % cardinality(options)];

CREATE TYPE study_level AS ENUM ('undergraduate', 'postgraduate', 'doctoral');
CREATE TYPE enrolment_state AS ENUM ('enrolled', 'withdrawn', 'completed');
CREATE TYPE result_state AS ENUM ('provisional', 'final', 'absent');

CREATE TABLE programme (
    code text PRIMARY KEY,
    title text NOT NULL,
    level study_level NOT NULL,
    credits smallint NOT NULL,
    usual_length interval NOT NULL
);

INSERT INTO programme VALUES
    ('LLB', 'Bachelor of Laws (LL.B.)', 'undergraduate', 480, '4 years'),
    ('LLBH', 'Bachelor of Laws with Honours', 'undergraduate', 480, '4 years'),
    ('BALLB', 'B.A./LL.B. conjoint', 'undergraduate', 720, '5 years 6 mons'),
    ('JD', 'Juris Doctor (J.D.)', 'postgraduate', 360, '3 years'),
    ('LLM', 'Master of Laws (LL.M.)', 'postgraduate', 120, '1 year'),
    ('LLMTAX', 'LL.M. in Taxation', 'postgraduate', 120, '1 year'),
    ('LLMIP', 'LL.M. in Intellectual Property', 'postgraduate', 120, '1 year'),
    ('MLS', 'Master of Legal Studies', 'postgraduate', 180, '1 year 6 mons'),
    ('PGDIP', 'Postgraduate Diploma in Legal Practice', 'postgraduate', 60, '18 weeks'),
    ('CERT', 'Certificate in Paralegal "Essentials"', 'undergraduate', 60, '6 mons'),
    ('SJD', 'Doctor of Juridical Science (S.J.D.)', 'doctoral', 360, '3 years'),
    ('PHD', 'Ph.D. in Law', 'doctoral', 360, '3 years');

CREATE TABLE course (
    id integer PRIMARY KEY,
    code text NOT NULL UNIQUE,
    title text NOT NULL,
    credits numeric(4, 1) NOT NULL,
    topics text[] NOT NULL,
    assessment jsonb NOT NULL,
    updated_at timestamptz NOT NULL
);

INSERT INTO course
SELECT n, 'LAW' || 100 + n,
       pg_temp.pick('{Contracts,Torts,"Criminal Law","Constitutional Law","Law of Evidence",Equity & Trusts,Tax,
           "International Law",Jurisprudence,"Company Law","Family Law","Land Law"}', 'title', n)
           || ' ' || pg_temp.pick('{I,II,III,(Advanced),— Seminar,"in Context"}', 'part', n),
       (ARRAY[7.5, 15, 20, 30])[1 + pg_temp.roll('credits', n) % 4],
       ARRAY[pg_temp.pick('{statutes,"case law",treaties}', 'topic', n), pg_temp.pick('{theory,practice}', 'angle', n)],
       jsonb_build_object('exam', 40 + n % 5 * 10, 'essay', 60 - n % 5 * 10, 'moot', n % 7 = 0),
       timestamptz '2026-02-01 00:00Z' + make_interval(hours => n)
FROM generate_series(1, 320) AS n;

CREATE TABLE student (
    id bigint GENERATED ALWAYS AS IDENTITY (START WITH 500001) PRIMARY KEY,
    given_name text NOT NULL,
    family_name text NOT NULL,
    sort_name text GENERATED ALWAYS AS (lower(family_name || ' ' || given_name)) STORED,
    email text UNIQUE,
    born_on date,
    programme_code text NOT NULL REFERENCES programme ON UPDATE CASCADE,
    started_on date NOT NULL,
    address jsonb,
    fees_owed numeric(10, 2) NOT NULL DEFAULT 0,
    updated_at timestamptz NOT NULL
);

INSERT INTO student (given_name, family_name, email, born_on, programme_code, started_on, address, fees_owed, updated_at)
SELECT pg_temp.pick('{Amelia,Ngozi,Wei,José,Zoë,Fatima,Oliver,Priya,Søren,Aroha,Łukasz,Hannah,Dmitri,Yuki,Elif,Grace,
           Tomás,Siobhán,Ibrahim,"Jean-Luc"}', 'given', n),
       pg_temp.pick('{O''Brien,Müller,Okafor,Nguyễn,"van der Berg",Tanaka,Smith,García,Patel,李,D''Souza,Kowalski,Haddad,
           Johansson,"Te Rangi",Rossi,MacDonald,Dvořák,"Ap Rhys",Şahin}', 'family', n),
       CASE WHEN n % 50 <> 0 THEN 'student' || n || '@student.law.example.edu' END,
       CASE WHEN n % 31 <> 0 THEN date '1985-01-01' + (pg_temp.roll('born', n) % 8000)::int END,
       pg_temp.pick('{LLB,LLB,LLB,LLBH,BALLB,JD,JD,LLM,LLMTAX,LLMIP,MLS,PGDIP,CERT,SJD,PHD}', 'programme', n),
       date '2019-02-18' + 182 * (pg_temp.roll('started', n) % 15)::int,
       CASE WHEN n % 12 <> 0 THEN jsonb_build_object(
           'lines', jsonb_build_array(1 + n % 220 || ' ' || pg_temp.pick('{"High St","Rue de l''Église",Königsallee}', 'st', n)),
           'city', pg_temp.pick('{Auckland,"São Paulo",Kraków,Lagos,"Hồ Chí Minh",Oslo}', 'city', n),
           'verified', n % 2 = 0) END,
       CASE WHEN n % 4 = 0 THEN pg_temp.roll('fees', n) % 1500000 / 100.0 ELSE 0 END,
       timestamptz '2026-03-01 00:00Z' + make_interval(secs => n * 2400.5)
FROM generate_series(1, 9000) AS n;

CREATE TABLE enrolment (
    student_id bigint,
    course_id integer,
    term text CHECK (term ~ '^\d{4}[AB]$'),
    state enrolment_state NOT NULL,
    enrolled_at timestamptz NOT NULL,
    grade_points numeric(3, 2),
    PRIMARY KEY (student_id, course_id, term)
);

-- Steps of 37 through 320 courses never meet again within seven.
INSERT INTO enrolment
SELECT 500000 + s, 1 + ((s * 13 + c * 37) % 320), 2023 + c / 2 || CASE c % 2 WHEN 0 THEN 'A' ELSE 'B' END,
       CASE WHEN c = 6 THEN 'enrolled' WHEN pg_temp.roll('withdrew', s * 7 + c) % 15 = 0 THEN 'withdrawn' ELSE 'completed' END
           ::enrolment_state,
       timestamptz '2023-02-10 09:00Z' + make_interval(days => 182 * c, secs => s * 3),
       CASE WHEN c < 6 THEN (pg_temp.roll('points', s * 7 + c) % 901)::numeric / 100 END
FROM generate_series(1, 9000) AS s, generate_series(0, 6) AS c;

-- Declared when the rows are there, as a dump does it: one join then checks all of them.
ALTER TABLE enrolment ADD FOREIGN KEY (student_id) REFERENCES student ON DELETE CASCADE;
ALTER TABLE enrolment ADD FOREIGN KEY (course_id) REFERENCES course;

CREATE TABLE exam_sitting (
    id uuid PRIMARY KEY,
    course_id integer NOT NULL REFERENCES course,
    held_on date NOT NULL,
    begins time NOT NULL,
    room text,
    length interval NOT NULL,
    UNIQUE (course_id, held_on)
);

INSERT INTO exam_sitting
SELECT md5('sitting ' || c || ' ' || t)::uuid, c, date '2023-06-12' + 182 * t + (pg_temp.roll('day', c * 8 + t) % 14)::int,
       time '09:00' + make_interval(mins => 30 * (pg_temp.roll('hour', c * 8 + t) % 12)::int),
       CASE WHEN c % 9 <> 0 THEN pg_temp.pick('{"Great Hall","Moot Court",A1.04,"Room \"B\""}', 'room', c) END,
       make_interval(mins => 90 + 30 * (c % 4))
FROM generate_series(1, 320) AS c, generate_series(0, 3) AS t;

-- Corrected often, and nobody notes when: no updated_at.
CREATE TABLE exam_result (
    sitting_id uuid,
    student_id bigint,
    state result_state NOT NULL,
    mark numeric(5, 2) CHECK (mark BETWEEN 0 AND 100),
    passed boolean GENERATED ALWAYS AS (mark >= 50) STORED,
    question_marks numeric(4, 1)[],
    remark text,
    script_sha bytea,
    PRIMARY KEY (sitting_id, student_id)
);

INSERT INTO exam_result (sitting_id, student_id, state, mark, question_marks, remark, script_sha)
SELECT md5('sitting ' || 1 + e % 320 || ' ' || e / 320 % 4)::uuid, 500001 + pg_temp.roll('sat', e / 4) % 9000,
       CASE WHEN e % 33 = 0 THEN 'absent' WHEN e % 5 = 0 THEN 'provisional' ELSE 'final' END::result_state,
       CASE WHEN e % 33 <> 0 THEN (2000 + pg_temp.roll('mark', e) % 8001)::numeric / 100 END,
       CASE WHEN e % 3 = 0 THEN ARRAY[pg_temp.roll('q1', e) % 400 / 10.0, NULL, pg_temp.roll('q3', e) % 400 / 10.0] END,
       CASE e % 40 WHEN 0 THEN E'Script p.\t2 "illegible"\nsee \\marker\\' WHEN 1 THEN 'résumé of the case — well done' END,
       CASE WHEN e % 4 = 0 THEN decode(md5('script ' || e), 'hex') END
FROM generate_series(1, 40000) AS e
ON CONFLICT DO NOTHING;

ALTER TABLE exam_result ADD FOREIGN KEY (sitting_id) REFERENCES exam_sitting;
ALTER TABLE exam_result ADD FOREIGN KEY (student_id) REFERENCES student ON DELETE CASCADE;

CREATE INDEX exam_result_student ON exam_result (student_id);

-- A name as an object-relational mapper makes it.
CREATE TABLE "ScholarshipAward" (
    "Id" integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    "studentId" bigint NOT NULL REFERENCES student ON DELETE CASCADE,
    "Amount" numeric(10, 2) NOT NULL,
    "awardedOn" date NOT NULL,
    "citation text" text
);

INSERT INTO "ScholarshipAward" ("studentId", "Amount", "awardedOn", "citation text")
SELECT 500000 + n * 11, 500 + pg_temp.roll('award', n) % 900000 / 100.0, date '2024-03-01' + (n % 700)::int,
       CASE WHEN n % 3 = 0 THEN 'For "outstanding" advocacy; 1st in class' END
FROM generate_series(1, 800) AS n;

CREATE VIEW transcript AS
SELECT s.id AS student_id, s.sort_name, c.code, e.term, e.state, e.grade_points
FROM enrolment e JOIN student s ON s.id = e.student_id JOIN course c ON c.id = e.course_id;
