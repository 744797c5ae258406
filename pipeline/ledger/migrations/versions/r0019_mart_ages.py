"""How old what each mart shows is: who reads it sees its rows, whether it was built tonight or not."""

from alembic import op

from pipeline.chains import BUILD_TASK

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.execute(f"""
        CREATE VIEW platform.marts AS
        WITH RECURSIVE built AS (
            SELECT DISTINCT ON (s.name) s.name, s.run, s.detail ->> 'mode' AS kind, s.rows, s.finished_at,
                   coalesce((s.detail ->> 'fresh_as_of')::timestamptz, s.finished_at) AS as_of,
                   coalesce(s.detail -> 'reads', '{{}}') AS reads
            FROM ops.step s
            JOIN pg_catalog.pg_namespace n ON n.nspname = 'mart'
            JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND 'mart.' || c.relname = s.name
            WHERE s.task = '{BUILD_TASK}' AND s.state = 'done'
            ORDER BY s.name, s.finished_at DESC
        ),
        -- A view shows what it reads as that is by now, whenever it was made.
        reading AS (
            SELECT b.name, r.relation
            FROM built b CROSS JOIN LATERAL jsonb_object_keys(b.reads) AS r (relation)
            WHERE b.kind = 'view'
            UNION
            SELECT reading.name, r.relation
            FROM reading
            JOIN built b ON b.name = reading.relation AND b.kind = 'view'
            CROSS JOIN LATERAL jsonb_object_keys(b.reads) AS r (relation)
        ),
        read AS (
            SELECT reading.name, min(coalesce(w.snapshot_at, b.as_of)) AS as_of
            FROM reading
            LEFT JOIN ops.watermark w ON w.source || '.' || w.table_name = reading.relation
            LEFT JOIN built b ON b.name = reading.relation AND b.kind <> 'view'
            GROUP BY reading.name
        )
        SELECT built.name, built.run, built.kind, built.rows, built.finished_at AS built_at,
               coalesce(read.as_of, built.as_of) AS as_of,
               round(extract(epoch FROM now() - coalesce(read.as_of, built.as_of)) / 3600, 1) AS age_hours
        FROM built LEFT JOIN read USING (name)
    """)  # noqa: S608 - a name of ours
