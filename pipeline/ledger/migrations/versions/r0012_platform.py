"""What the platform shows of itself to dashboards and analysts: views of the ledger, without its errors."""

from alembic import op

from pipeline.chains import LOAD_TASK

revision = "0012"
down_revision = "0011"

STATEMENTS = (
    "CREATE SCHEMA platform",
    """
    CREATE VIEW platform.tables AS
    SELECT source || '.' || table_name AS name, source, rows, quarantined, snapshot_at AS as_of, loaded_at,
           round(extract(epoch FROM now() - snapshot_at) / 3600, 1) AS age_hours
    FROM ops.watermark
    """,
    """
    CREATE VIEW platform.runs AS
    SELECT run, name, left(run, 10)::date AS day, state, started_at, finished_at, attempts,
           round(extract(epoch FROM finished_at - attempted_at) / 60, 1) AS minutes
    FROM ops.run
    """,
    f"""
    CREATE VIEW platform.loads AS
    SELECT run, left(run, 10)::date AS day, name, split_part(name, '.', 1) AS source,
           detail ->> 'mode' AS mode, rows, (detail ->> 'inserted')::bigint AS new,
           (detail ->> 'updated')::bigint AS changed, (detail ->> 'deleted')::bigint AS deleted,
           finished_at AS loaded_at
    FROM ops.step WHERE task = '{LOAD_TASK}' AND state = 'done'
    """,  # noqa: S608 - a name of ours
    """
    CREATE VIEW platform.checks AS
    SELECT run, left(run, 10)::date AS day, source || '.' || table_name AS name, check_name, level, passed,
           observed, expected, checked_at
    FROM ops.check_result
    """,
    """
    CREATE VIEW platform.backups AS
    SELECT database, run, left(run, 10)::date AS day, taken_at, verified_at,
           round(size_bytes / 1e6, 1) AS size_mb, round(database_bytes / 1e6, 1) AS database_mb, tables, rows,
           round(seconds::numeric, 1) AS seconds,
           round(extract(epoch FROM now() - taken_at) / 3600, 1) AS age_hours
    FROM ops.backup
    """,
    """
    CREATE VIEW platform.drills AS
    SELECT database, month, held, grade, round(recovery_seconds::numeric / 60, 2) AS recovery_minutes,
           round(deadline_seconds::numeric / 60, 1) AS deadline_minutes, finished_at
    FROM ops.drill
    """,
    """
    CREATE VIEW platform.alerts AS
    SELECT key, kind, summary, run, since, told_at,
           kind <> 'recovered' AND told_at = max(told_at) OVER (PARTITION BY key) AS open
    FROM ops.alert
    """,
    """
    CREATE VIEW platform.audits AS
    SELECT source || '.' || table_name AS name, source, result, rows, missing, altered, surplus, audited_at
    FROM ops.audit
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
