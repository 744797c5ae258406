-- A law school's human resources: departments, staff, contracts, leave, pay and door badges (about 43,000 rows).
-- Every value follows from its row's number and a fixed seed, so that every sandbox holds the same rows.

CREATE FUNCTION pg_temp.roll(what text, n bigint) RETURNS bigint LANGUAGE sql IMMUTABLE
RETURN hashtextextended(what || n::text, 20261122) & 9223372036854775807;

CREATE FUNCTION pg_temp.pick(options text[], what text, n bigint) RETURNS text LANGUAGE sql IMMUTABLE
RETURN options[1 + pg_temp.roll(what, n) % cardinality(options)];

CREATE TYPE contract_kind AS ENUM ('permanent', 'fixed_term', 'adjunct', 'visiting');
CREATE TYPE leave_kind AS ENUM ('annual', 'sick', 'parental', 'sabbatical');
CREATE TYPE leave_state AS ENUM ('requested', 'approved', 'refused', 'cancelled');

CREATE TABLE department (
    code text PRIMARY KEY,
    name text NOT NULL UNIQUE,
    parent_code text REFERENCES department ON UPDATE CASCADE,
    budget numeric(14, 2) NOT NULL
);

INSERT INTO department (code, name, parent_code, budget)
SELECT code, name, parent, 400000 + pg_temp.roll('budget', row_number() OVER ()) % 90000000 / 100.0
FROM (VALUES
    ('DEAN', 'Office of the Dean', NULL),
    ('FAC', 'Faculty of Law', 'DEAN'),
    ('PUB', 'Public and Constitutional Law', 'FAC'),
    ('PRIV', 'Private Law and Obligations', 'FAC'),
    ('CRIM', 'Criminal Justice', 'FAC'),
    ('INTL', 'International and Comparative Law', 'FAC'),
    ('TAX', 'Tax and Corporate Law', 'FAC'),
    ('PHIL', 'Jurisprudence and Legal History', 'FAC'),
    ('CLIN', 'Legal Clinics', 'FAC'),
    ('LIB', 'Law Library', 'DEAN'),
    ('REG', 'Registrar''s Office', 'DEAN'),
    ('ADM', 'Admissions & Financial Aid', 'DEAN'),
    ('IT', 'Information Services', 'DEAN'),
    ('HR', 'Human Resources', 'DEAN'),
    ('FIN', 'Finance', 'DEAN'),
    ('EST', 'Estates "and" Facilities', 'DEAN'),
    ('ALU', 'Alumni Relations', 'DEAN'),
    ('CAR', 'Careers Service', 'DEAN')
) AS made (code, name, parent);

CREATE TABLE employee (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    staff_number text NOT NULL UNIQUE,
    given_name text NOT NULL,
    family_name text NOT NULL,
    display_name text GENERATED ALWAYS AS (family_name || ', ' || given_name) STORED,
    email text,
    national_id text NOT NULL,
    department_code text NOT NULL REFERENCES department ON UPDATE CASCADE,
    manager_id bigint REFERENCES employee,
    hired_on date NOT NULL,
    left_on date,
    languages text[] NOT NULL DEFAULT '{}',
    emergency_contact jsonb,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CHECK (left_on >= hired_on)
);

INSERT INTO employee (staff_number, given_name, family_name, email, national_id, department_code, manager_id,
                      hired_on, left_on, languages, emergency_contact, updated_at)
SELECT 'S' || lpad(n::text, 6, '0'), given, family,
       CASE WHEN n % 97 <> 0 THEN 'staff' || n || '@law.example.edu' END,
       lpad((pg_temp.roll('national', n) % 10000000000)::text, 10, '0'),
       pg_temp.pick('{PUB,PRIV,CRIM,INTL,TAX,PHIL,CLIN,LIB,REG,ADM,IT,HR,FIN,EST,ALU,CAR}', 'department', n),
       CASE WHEN n > 40 THEN 1 + pg_temp.roll('manager', n) % 40 END,
       hired, CASE WHEN pg_temp.roll('left', n) % 8 = 0 THEN hired + (200 + pg_temp.roll('stay', n) % 2000)::int END,
       CASE pg_temp.roll('languages', n) % 4
           WHEN 0 THEN '{}' WHEN 1 THEN '{en}' WHEN 2 THEN '{en,fr}' ELSE ARRAY['en', 'de', 'Te Reo Māori'] END,
       CASE WHEN n % 5 <> 0 THEN jsonb_build_object(
           'name', pg_temp.pick('{Sam,Alex,Noor,"Zoë",Kim}', 'contact', n) || ' ' || family,
           'phones', jsonb_build_array('+64 9 ' || (1000000 + pg_temp.roll('phone', n) % 8999999)),
           'relation', pg_temp.pick('{spouse,parent,sibling,friend}', 'relation', n)) END,
       timestamptz '2026-01-05 08:00Z' + make_interval(mins => (pg_temp.roll('updated', n) % 400000)::int)
FROM (
    SELECT n,
           pg_temp.pick('{Amelia,Ngozi,Wei,"José",Zoë,Fatima,Oliver,Priya,Søren,Aroha,Łukasz,Hannah,"Mary Ann",
               Dmitri,Yuki,Elif,Grace,Tomás,Siobhán,Ibrahim}', 'given', n) AS given,
           pg_temp.pick('{O''Brien,Müller,Okafor,Nguyễn,"van der Berg",Tanaka,Smith,García,Patel,李,"Ng ",D''Souza,
               Kowalski,Haddad,Johansson,Te Rangi,Rossi,"St. John",MacDonald,Dvořák}', 'family', n) AS family,
           date '2004-02-01' + (pg_temp.roll('hired', n) % 7900)::int AS hired
    FROM generate_series(1, 1200) AS n
) AS people;

CREATE INDEX employee_department ON employee (department_code);

CREATE TABLE contract (
    id uuid PRIMARY KEY,
    employee_id bigint NOT NULL REFERENCES employee ON DELETE CASCADE,
    kind contract_kind NOT NULL,
    period daterange NOT NULL,
    hours_per_week numeric(4, 1) NOT NULL,
    full_time boolean GENERATED ALWAYS AS (hours_per_week >= 37.5) STORED,
    terms jsonb NOT NULL,
    note text,
    updated_at timestamptz NOT NULL
);

INSERT INTO contract (id, employee_id, kind, period, hours_per_week, terms, note, updated_at)
SELECT md5('contract' || n)::uuid, 1 + n % 1200,
       pg_temp.pick('{permanent,permanent,fixed_term,adjunct,visiting}', 'kind', n)::contract_kind,
       daterange(start, CASE WHEN pg_temp.roll('open', n) % 2 = 0 THEN start + 365 END),
       (ARRAY[7.5, 18.8, 30, 37.5, 40])[1 + pg_temp.roll('hours', n) % 5],
       jsonb_build_object('grade', 1 + pg_temp.roll('grade', n) % 12, 'probation', n % 3 = 0, 'fte', NULL),
       CASE n % 9 WHEN 0 THEN 'Signed "subject to references"' WHEN 1 THEN E'See annex A\\B\nand the schedule\tattached'
                  WHEN 2 THEN '' WHEN 3 THEN '\N' END,
       timestamptz '2025-12-01 00:00Z' + make_interval(secs => n * 137.125)
FROM (SELECT n, date '2019-01-01' + (pg_temp.roll('start', n) % 2500)::int AS start FROM generate_series(1, 3000) n) s;

CREATE TABLE leave_request (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    employee_id bigint NOT NULL,
    kind leave_kind NOT NULL,
    state leave_state NOT NULL,
    first_day date NOT NULL,
    last_day date NOT NULL,
    days integer GENERATED ALWAYS AS (last_day - first_day + 1) STORED,
    reason text,
    updated_at timestamptz NOT NULL
);

INSERT INTO leave_request (employee_id, kind, state, first_day, last_day, reason, updated_at)
SELECT 1 + pg_temp.roll('who', n) % 1200,
       pg_temp.pick('{annual,annual,annual,sick,parental,sabbatical}', 'leave', n)::leave_kind,
       pg_temp.pick('{approved,approved,approved,requested,refused,cancelled}', 'state', n)::leave_state,
       first, first + (pg_temp.roll('days', n) % 15)::int,
       CASE WHEN n % 4 = 0 THEN pg_temp.pick('{"Family, abroad",Conference,"Doctor''s appointment",жара}', 'why', n) END,
       first - interval '20 days' + make_interval(mins => (n % 1440)::int)
FROM (SELECT n, date '2024-01-01' + (pg_temp.roll('first', n) % 1050)::int AS first FROM generate_series(1, 18000) n) s;

-- Declared when the rows are there, as a dump does it: one join then checks all of them.
ALTER TABLE leave_request ADD FOREIGN KEY (employee_id) REFERENCES employee ON DELETE CASCADE;
CREATE INDEX leave_request_employee ON leave_request (employee_id, first_day);

-- In a schema of its own, with a key of two columns and no updated_at.
CREATE SCHEMA payroll;

CREATE TABLE payroll.salary (
    employee_id bigint,
    valid_from date,
    amount numeric(12, 2) NOT NULL CHECK (amount > 0),
    currency char(3) NOT NULL DEFAULT 'NZD',
    allowances numeric(10, 4)[],
    PRIMARY KEY (employee_id, valid_from)
);

INSERT INTO payroll.salary
SELECT employee, make_date(2021 + step, 7, 1), 48000 + 1800 * step + pg_temp.roll('pay', employee) % 9000000 / 100.0,
       'NZD', CASE WHEN employee % 6 = 0 THEN ARRAY[125.5, pg_temp.roll('extra', employee) % 10000 / 10000.0] END
FROM generate_series(1, 1200) AS employee, generate_series(0, 4) AS step;

ALTER TABLE payroll.salary ADD FOREIGN KEY (employee_id) REFERENCES public.employee ON DELETE CASCADE;

-- A log without any key: the same row can be there twice.
CREATE TABLE badge_event (
    badge integer NOT NULL,
    door text NOT NULL,
    passed_at timestamptz NOT NULL,
    reader inet
);

INSERT INTO badge_event
SELECT 1 + pg_temp.roll('badge', n) % 1200, pg_temp.pick('{Main,Library,"Moot court",Clinic,Archive}', 'door', n),
       timestamptz '2026-11-16 06:00Z' + make_interval(secs => (n / 2) * 61),
       CASE WHEN n % 11 <> 0 THEN ('10.20.' || n % 4 || '.' || n % 250)::inet END
FROM generate_series(1, 14000) AS n;

CREATE VIEW current_staff AS
SELECT e.id, e.display_name, d.name AS department
FROM employee e JOIN department d ON d.code = e.department_code
WHERE e.left_on IS NULL;

COMMENT ON TABLE employee IS 'Everybody who works or worked here; never deleted before ten years have passed.';
COMMENT ON COLUMN employee.national_id IS 'Personal: not for reports.';
