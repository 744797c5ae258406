"""What audits found of each table, and the tables that are to be read in full once."""

from alembic import op

revision = "0008"
down_revision = "0007"

STATEMENTS = (
    """
    CREATE TABLE ops.audit (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        source text NOT NULL,
        table_name text NOT NULL,
        run text NOT NULL,
        snapshot_at timestamptz NOT NULL,
        audited_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        part integer NOT NULL,
        parts integer NOT NULL,
        blocks bigint NOT NULL,
        storage text NOT NULL,
        result text NOT NULL CHECK (result IN ('equal', 'differs', 'not comparable')),
        reason text,
        rows bigint NOT NULL,
        newer bigint NOT NULL,
        missing bigint NOT NULL,
        altered bigint NOT NULL,
        surplus bigint NOT NULL,
        clear bigint NOT NULL,
        seconds double precision NOT NULL
    )
    """,
    "CREATE INDEX audit_table ON ops.audit (source, table_name, id)",
    """
    CREATE TABLE quarantine.audit (
        source text NOT NULL,
        table_name text NOT NULL,
        audited_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        difference text NOT NULL,
        key jsonb NOT NULL
    )
    """,
    "ALTER TABLE ops.watermark ADD COLUMN in_full text",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
