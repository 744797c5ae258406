"""The ledger of runs and steps, what was accepted of each table, and Luigi's task history."""

from alembic import op
from luigi.db_task_history import Base

revision = "0001"
down_revision = None

STATEMENTS = (
    "CREATE SCHEMA IF NOT EXISTS staging",
    "CREATE SCHEMA IF NOT EXISTS quarantine",
    "CREATE SCHEMA IF NOT EXISTS mart",
    """
    CREATE TABLE ops.run (
        run text NOT NULL,
        name text NOT NULL,
        state text NOT NULL CHECK (state IN ('running', 'done', 'failed')),
        started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        finished_at timestamptz,
        host text NOT NULL,
        pid integer NOT NULL,
        error text,
        PRIMARY KEY (run, name)
    )
    """,
    """
    CREATE TABLE ops.step (
        run text NOT NULL,
        task text NOT NULL,
        name text NOT NULL,
        state text NOT NULL CHECK (state IN ('running', 'done', 'failed')),
        started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        finished_at timestamptz,
        host text NOT NULL,
        pid integer NOT NULL,
        rows bigint,
        detail jsonb NOT NULL DEFAULT '{}',
        error text,
        exit_code integer,
        PRIMARY KEY (run, task, name)
    )
    """,
    "CREATE INDEX step_started_at ON ops.step (started_at)",
    """
    CREATE TABLE ops.watermark (
        source text NOT NULL,
        table_name text NOT NULL,
        run text NOT NULL,
        snapshot_at timestamptz NOT NULL,
        horizon bigint NOT NULL,
        system_identifier text NOT NULL,
        timeline bigint NOT NULL,
        cursor_value text,
        rows bigint NOT NULL,
        quarantined bigint NOT NULL DEFAULT 0,
        cursor_name text,
        loaded_at timestamptz NOT NULL,
        PRIMARY KEY (source, table_name)
    )
    """,
    """
    CREATE TABLE ops.table_shape (
        source text NOT NULL,
        table_name text NOT NULL,
        accepted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        run text NOT NULL,
        shape jsonb NOT NULL,
        PRIMARY KEY (source, table_name, accepted_at)
    )
    """,
    """
    CREATE TABLE ops.check_result (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        run text NOT NULL,
        source text NOT NULL,
        table_name text NOT NULL,
        check_name text NOT NULL,
        level text NOT NULL CHECK (level IN ('error', 'warn')),
        passed boolean NOT NULL,
        observed text NOT NULL,
        expected text NOT NULL,
        value double precision,
        checked_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )
    """,
    "CREATE INDEX check_result_table ON ops.check_result (source, table_name, check_name, checked_at)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
    Base.metadata.create_all(op.get_bind())
    # Luigi would do this itself at its start, by a call that SQLAlchemy 2 refuses.
    op.execute("ALTER TABLE ops.task_parameters ALTER COLUMN value TYPE text")
