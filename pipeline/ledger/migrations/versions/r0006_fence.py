"""Which attempt at a step counts, and when its worker was last heard of."""

from alembic import op

revision = "0006"
down_revision = "0004"

STATEMENTS = (
    "CREATE SEQUENCE ops.step_attempt",
    """
    ALTER TABLE ops.step
        ADD COLUMN attempt bigint NOT NULL DEFAULT nextval('ops.step_attempt'),
        ADD COLUMN seen_at timestamptz NOT NULL DEFAULT clock_timestamp()
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
