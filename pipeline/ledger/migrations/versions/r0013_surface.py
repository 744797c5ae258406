"""What of Metabase is ours: the number of each of our things there, and how it was after our last write."""

from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE ops.surface (
            key text PRIMARY KEY,
            kind text NOT NULL,
            name text NOT NULL,
            file text,
            number bigint,
            marker text,
            nonce text NOT NULL,
            shown jsonb,
            detail jsonb NOT NULL DEFAULT '{}',
            written_at timestamptz NOT NULL DEFAULT clock_timestamp()
        )
        """)
