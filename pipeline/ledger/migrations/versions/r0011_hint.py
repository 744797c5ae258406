"""What is to be fixed before a step that failed is tried again, apart from how it failed."""

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.execute("ALTER TABLE ops.step ADD COLUMN hint text")
