-- How many objects of each kind each role owns, without the system's, the extensions' and temporary ones.
WITH own_schema AS (
    SELECT n.oid, n.nspname, n.nspowner FROM pg_namespace AS n
    WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
), member AS (
    SELECT e.classid, e.objid FROM pg_depend AS e WHERE e.deptype = 'e'
), relation AS (
    SELECT c.oid, c.relkind, c.relowner FROM pg_class AS c
    JOIN own_schema AS n ON n.oid = c.relnamespace
    LEFT JOIN pg_index AS i ON i.indexrelid = c.oid
    -- Of a composite type the type is an extension's, of an index the table.
    WHERE NOT EXISTS (
        SELECT FROM member
        WHERE (classid, objid) IN (
            ('pg_class'::regclass, c.oid), ('pg_class'::regclass, i.indrelid), ('pg_type'::regclass, c.reltype)
        )
    )
      -- What CREATE INDEX CONCURRENTLY gave up: a dump leaves it out.
      AND NOT (c.relkind = 'i' AND NOT i.indisvalid)
), found (kind, owner) AS (
    SELECT 'schema', nspowner FROM own_schema
    WHERE NOT EXISTS (SELECT FROM member WHERE classid = 'pg_namespace'::regclass AND objid = own_schema.oid)
    UNION ALL
    SELECT CASE relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view'
                        WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table' WHEN 'S' THEN 'sequence'
                        WHEN 'c' THEN 'composite type' ELSE 'index' END,
           relowner
    FROM relation
    UNION ALL
    SELECT 'function', p.proowner FROM pg_proc AS p
    JOIN own_schema AS n ON n.oid = p.pronamespace
    WHERE NOT EXISTS (SELECT FROM member WHERE classid = 'pg_proc'::regclass AND objid = p.oid)
    UNION ALL
    SELECT CASE t.typtype WHEN 'd' THEN 'domain' WHEN 'e' THEN 'enum' ELSE 'range' END, t.typowner
    FROM pg_type AS t
    JOIN own_schema AS n ON n.oid = t.typnamespace
    WHERE t.typtype IN ('d', 'e', 'r')
      AND NOT EXISTS (SELECT FROM member WHERE classid = 'pg_type'::regclass AND objid = t.oid)
    UNION ALL
    -- Since PostgreSQL 18 NOT NULL is one, before it is none.
    SELECT CASE WHEN k.convalidated THEN 'constraint' ELSE 'constraint not validated' END, r.relowner FROM pg_constraint AS k
    JOIN relation AS r ON r.oid = k.conrelid
    WHERE k.contype IN ('c', 'f', 'p', 'u', 'x')
    UNION ALL
    SELECT 'trigger', r.relowner FROM pg_trigger AS g
    JOIN relation AS r ON r.oid = g.tgrelid
    WHERE NOT g.tgisinternal
    UNION ALL
    SELECT 'policy', r.relowner FROM pg_policy AS y
    JOIN relation AS r ON r.oid = y.polrelid
    UNION ALL
    SELECT 'large object', lomowner FROM pg_largeobject_metadata
    UNION ALL
    SELECT other.kind, other.owner
    FROM (
        SELECT 'collation', collowner, tableoid, oid, collnamespace FROM pg_collation
        UNION ALL
        SELECT 'operator', oprowner, tableoid, oid, oprnamespace FROM pg_operator
        UNION ALL
        SELECT 'statistics', stxowner, tableoid, oid, stxnamespace FROM pg_statistic_ext
        UNION ALL
        SELECT 'text search configuration', cfgowner, tableoid, oid, cfgnamespace FROM pg_ts_config
        -- These are in no schema.
        UNION ALL
        SELECT 'event trigger', evtowner, tableoid, oid, NULL FROM pg_event_trigger
        UNION ALL
        SELECT 'foreign server', srvowner, tableoid, oid, NULL FROM pg_foreign_server
        UNION ALL
        SELECT 'publication', pubowner, tableoid, oid, NULL FROM pg_publication
    ) AS other (kind, owner, class, oid, namespace)
    WHERE (other.namespace IS NULL OR other.namespace IN (SELECT oid FROM own_schema))
      AND NOT EXISTS (SELECT FROM member WHERE classid = other.class AND objid = other.oid)
)
SELECT f.kind, o.rolname AS owner, count(*) AS count
FROM found AS f
JOIN pg_roles AS o ON o.oid = f.owner
GROUP BY f.kind, o.rolname
ORDER BY f.kind, o.rolname
