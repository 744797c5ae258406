"""The restore drills: what each found."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE ops.drill (
            database text NOT NULL,
            month text NOT NULL,
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
        """
    )
