"""Looks of an audit that were given up, for they took longer than their night has room for."""

from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE ops.audit_stopped (
            source text NOT NULL,
            table_name text NOT NULL,
            stopped_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            times integer NOT NULL,
            rows bigint NOT NULL,
            seconds double precision NOT NULL,
            PRIMARY KEY (source, table_name)
        )
    """)
