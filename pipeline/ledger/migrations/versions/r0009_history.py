"""What is remembered of each source, so that an earlier copy of it is noticed."""

from alembic import op

revision = "0009"
down_revision = "0008"

STATEMENTS = (
    """
    CREATE TABLE ops.source_history (
        source text PRIMARY KEY,
        history integer NOT NULL,
        marks jsonb,
        reason text NOT NULL,
        seen_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )
    """,
    """
    ALTER TABLE ops.watermark
        ADD COLUMN history integer NOT NULL DEFAULT 0,
        ADD COLUMN witnesses jsonb
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
