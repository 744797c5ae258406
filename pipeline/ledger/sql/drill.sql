-- A drill's report; a later one of the same month takes the place of an earlier one.
-- {table} is that of our backups' drills, or that of the drills of what pgBackRest has.
INSERT INTO {table} (
    database, month, run, held, grade, recovery_seconds, deadline_seconds, size_bytes, limit_bytes,
    finished_at, report
)
VALUES (
    %(database)s, %(month)s, %(run)s, %(held)s, %(grade)s, %(recovery_seconds)s, %(deadline_seconds)s,
    %(size_bytes)s, %(limit_bytes)s, %(finished_at)s, %(report)s
)
ON CONFLICT (database, month) DO UPDATE SET
    run = excluded.run, held = excluded.held, grade = excluded.grade,
    recovery_seconds = excluded.recovery_seconds, deadline_seconds = excluded.deadline_seconds,
    size_bytes = excluded.size_bytes, limit_bytes = excluded.limit_bytes,
    finished_at = excluded.finished_at, report = excluded.report
