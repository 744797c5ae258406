"""Which shapes a relation of a source was loaded in is asked of every table, every night."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.execute("CREATE INDEX table_shape_oid ON ops.table_shape (source, (shape ->> 'oid'))")
