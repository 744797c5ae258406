"""The verified backups, beside the loads: the bucket is what counts, this is for dashboards and status."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE ops.backup (
            database text NOT NULL,
            run text NOT NULL,
            taken_at timestamptz NOT NULL,
            verified_at timestamptz NOT NULL,
            method text NOT NULL CHECK (method IN ('all', 'sample')),
            size_bytes bigint NOT NULL,
            database_bytes bigint NOT NULL,
            tables integer NOT NULL,
            rows bigint NOT NULL,
            seconds double precision NOT NULL,
            warnings jsonb NOT NULL,
            PRIMARY KEY (database, run)
        )
        """
    )
