"""When a run was first begun and when last, how often, and what it was to do."""

from alembic import op

revision = "0010"
down_revision = "0009"

STATEMENTS = (
    # An empty scope is everything; else it names sources and tables.
    """
    ALTER TABLE ops.run
        ADD COLUMN attempted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        ADD COLUMN attempts integer NOT NULL DEFAULT 1,
        ADD COLUMN scope text[] NOT NULL DEFAULT '{}'
    """,
    "UPDATE ops.run SET attempted_at = started_at",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
