"""The alerts that were told: for dashboards and status. What is still to be sent lies in the spool."""

from alembic import op

revision = "0004"
down_revision = "0003"

STATEMENTS = (
    """
    CREATE TABLE ops.alert (
        id text PRIMARY KEY,
        key text NOT NULL,
        kind text NOT NULL CHECK (kind IN ('failed', 'recovered', 'stale', 'warning')),
        summary text NOT NULL,
        error text,
        run text,
        host text NOT NULL,
        since timestamptz NOT NULL,
        told_at timestamptz NOT NULL,
        sent_at timestamptz,
        command text,
        task_url text,
        log_url text
    )
    """,
    "CREATE INDEX alert_told_at ON ops.alert (told_at)",
    "CREATE INDEX alert_key ON ops.alert (key, told_at)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
