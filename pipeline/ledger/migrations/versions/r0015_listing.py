"""Which tables a source had as a run began, for sources that declare all of them."""

from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE ops.listing (
            run text NOT NULL,
            source text NOT NULL,
            -- Each table with its kind, its key and its columns, by name and type.
            tables jsonb NOT NULL,
            listed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            PRIMARY KEY (run, source)
        )
        """)
