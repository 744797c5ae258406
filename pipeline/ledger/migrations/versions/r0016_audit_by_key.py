"""Where the next part of a table begins that audits look at in parts, by its key."""

from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.execute("ALTER TABLE ops.audit ADD COLUMN after_key text[]")
