"""The drills of what pgBackRest has: not among those of our backups, which an earlier release reads."""

from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE ops.archive_drill (
            database text NOT NULL,
            month text NOT NULL,
            -- Our backup that it was compared with.
            run text NOT NULL,
            held boolean NOT NULL,
            grade text NOT NULL CHECK (grade IN ('A', 'B', 'C', 'F')),
            recovery_seconds double precision NOT NULL,
            deadline_seconds double precision NOT NULL,
            size_bytes bigint NOT NULL,
            limit_bytes bigint,
            finished_at timestamptz NOT NULL,
            report jsonb NOT NULL,
            PRIMARY KEY (database, month)
        )
    """)
    op.execute("""
        CREATE VIEW platform.archive_drills AS
        SELECT database, month, held, grade, round(recovery_seconds::numeric / 60, 2) AS recovery_minutes,
               round(deadline_seconds::numeric / 60, 1) AS deadline_minutes, finished_at
        FROM ops.archive_drill
    """)
