"""The tables and views of each source as first seen, and when it was told that one is not loaded."""

from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE ops.source_relation (
            source text NOT NULL,
            schema_name text NOT NULL,
            name text NOT NULL,
            -- Whether it was there when the source was first looked at: nobody is told of those.
            there_before boolean NOT NULL,
            first_seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            told_at timestamptz,
            PRIMARY KEY (source, schema_name, name)
        )
        """)
    op.execute("""
        ALTER TABLE ops.alert DROP CONSTRAINT alert_kind_check,
            ADD CONSTRAINT alert_kind_check
            CHECK (kind IN ('failed', 'recovered', 'stale', 'warning', 'notice'))
        """)
    op.execute("""
        CREATE OR REPLACE VIEW platform.alerts AS
        SELECT key, kind, summary, run, since, told_at,
               kind NOT IN ('recovered', 'notice')
               AND told_at = max(told_at) OVER (PARTITION BY key) AS open
        FROM ops.alert
        """)
