-- What the types of the given oids are made of, and what those are made of, down to what is built in.
-- Parameter: the oids.
WITH RECURSIVE reached (oid) AS (
    SELECT unnest(%s::oid[])
    UNION
    SELECT part.oid
    FROM reached r
    JOIN pg_type t ON t.oid = r.oid
    CROSS JOIN LATERAL (
        SELECT t.typelem WHERE t.typelem <> 0
        UNION ALL
        SELECT t.typbasetype WHERE t.typbasetype <> 0
        UNION ALL
        SELECT g.rngsubtype FROM pg_range g WHERE g.rngtypid = t.oid
        UNION ALL
        -- PostgreSQL 13 has no multiranges, and no column that tells them.
        SELECT g.rngtypid FROM pg_range g WHERE (to_jsonb(g) ->> 'rngmultitypid')::oid = t.oid
        UNION ALL
        SELECT a.atttypid FROM pg_attribute a
        WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
    ) AS part (oid)
)
SELECT
    t.oid::bigint,
    n.nspname AS schema,
    t.typname AS name,
    t.typtype::text AS class,
    -- Oids below 10000 are the same on every server, and so is what they mean.
    n.nspname = 'pg_catalog' AND t.oid < 10000 AS built_in,
    -- What has no binary form belongs to the inside of its server.
    t.typsend <> 0 AND t.typreceive <> 0 AS binary_form,
    format_type(t.oid, NULL) AS plain,
    (SELECT e.oid::bigint FROM pg_type e WHERE e.oid = t.typelem AND e.typarray = t.oid) AS element,
    nullif(t.typbasetype, 0)::bigint AS base,
    CASE WHEN t.typbasetype <> 0 THEN format_type(t.typbasetype, t.typtypmod) END AS base_written,
    coalesce(c.relkind <> 'c', false) AS row_of_table,
    ARRAY(SELECT l.enumlabel::text FROM pg_enum l WHERE l.enumtypid = t.oid ORDER BY l.enumsortorder) AS labels,
    ARRAY(SELECT l.oid::bigint FROM pg_enum l WHERE l.enumtypid = t.oid ORDER BY l.enumsortorder) AS label_oids,
    ARRAY(
        SELECT jsonb_build_array(a.attname, a.atttypid::bigint, format_type(a.atttypid, a.atttypmod), a.attnum)
        FROM pg_attribute a
        WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
        ORDER BY a.attnum
    ) AS attributes,
    x.extname AS extension,
    g.rngsubtype::bigint AS subtype,
    m.typname AS multirange,
    -- The order of text follows the server's locale, unless it is this one's.
    CASE
        WHEN g.rngcollation = 0 THEN ''
        WHEN o.collname IN ('C', 'POSIX') AND o.collnamespace = 'pg_catalog'::regnamespace THEN 'C'
    END AS collation,
    coalesce(q.opcdefault AND q.opcnamespace = 'pg_catalog'::regnamespace, false) AS ordered_by_default,
    (SELECT p.rngtypid::bigint FROM pg_range p WHERE (to_jsonb(p) ->> 'rngmultitypid')::oid = t.oid) AS range
FROM reached r
JOIN pg_type t ON t.oid = r.oid
JOIN pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_class c ON c.oid = t.typrelid
LEFT JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e'
LEFT JOIN pg_extension x ON x.oid = d.refobjid
LEFT JOIN pg_range g ON g.rngtypid = t.oid
LEFT JOIN pg_type m ON m.oid = (to_jsonb(g) ->> 'rngmultitypid')::oid
LEFT JOIN pg_collation o ON o.oid = g.rngcollation
LEFT JOIN pg_opclass q ON q.oid = g.rngsubopc
