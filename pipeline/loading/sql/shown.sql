-- What a relation shows, as its server knows it: itself, every relation that it reads, by views over views and by
-- functions whose bodies are parsed, and those functions.
-- Parameters: relation (oid); schemas, relations, columns, masks: what is declared of this source's columns.
WITH RECURSIVE reached (class, oid) AS (
    SELECT 'pg_class'::regclass::oid, %(relation)s::oid
    UNION
    SELECT d.refclassid, d.refobjid
    FROM reached r
    CROSS JOIN LATERAL (
        SELECT 'pg_rewrite'::regclass::oid, w.oid FROM pg_rewrite w
        WHERE r.class = 'pg_class'::regclass AND w.ev_class = r.oid AND w.ev_type = '1'
        UNION ALL
        SELECT r.class, r.oid WHERE r.class = 'pg_proc'::regclass
    ) AS by (class, oid)
    JOIN pg_depend d ON d.classid = by.class AND d.objid = by.oid
    WHERE d.refclassid IN ('pg_class'::regclass, 'pg_proc'::regclass)
), kin (oid, relative) AS (
    -- What is in a partition is in its parent as well, under the same names.
    SELECT r.oid, r.oid FROM reached r WHERE r.class = 'pg_class'::regclass
    UNION
    SELECT k.oid, CASE WHEN i.inhparent = k.relative THEN i.inhrelid ELSE i.inhparent END
    FROM kin k JOIN pg_inherits i ON k.relative IN (i.inhparent, i.inhrelid)
), declared (oid, attnum, mask) AS (
    SELECT k.oid, a.attnum, m.mask
    FROM unnest(%(schemas)s::text[], %(relations)s::text[], %(columns)s::text[], %(masks)s::text[])
        AS m (schema, relation, name, mask)
    JOIN pg_namespace n ON n.nspname = m.schema
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = m.relation
    JOIN kin k ON k.relative = c.oid
    JOIN pg_attribute a ON a.attrelid = k.oid AND a.attname = m.name AND a.attnum > 0 AND NOT a.attisdropped
)
SELECT
    r.oid::bigint,
    r.class = 'pg_proc'::regclass AS is_function,
    coalesce(
        (SELECT format('%%s.%%s', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE r.class = 'pg_class'::regclass AND c.oid = r.oid),
        (SELECT format('%%s.%%s', n.nspname, p.proname) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
         WHERE r.class = 'pg_proc'::regclass AND p.oid = r.oid)
    ) AS name,
    ARRAY(
        SELECT jsonb_build_array(a.attnum, a.attname) FROM pg_attribute a
        WHERE r.class = 'pg_class'::regclass AND a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
    ) AS columns,
    ARRAY(SELECT jsonb_build_array(d.attnum, d.mask) FROM declared d
          WHERE r.class = 'pg_class'::regclass AND d.oid = r.oid) AS declared,
    ARRAY(
        SELECT jsonb_build_array(f.adnum, d.refobjsubid)
        FROM pg_attrdef f
        JOIN pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum AND a.attgenerated <> ''
        JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
        WHERE r.class = 'pg_class'::regclass AND f.adrelid = r.oid
          AND d.refclassid = 'pg_class'::regclass AND d.refobjid = r.oid AND d.refobjsubid <> f.adnum
    ) AS generated,
    (SELECT w.ev_action::text FROM pg_rewrite w
     WHERE r.class = 'pg_class'::regclass AND w.ev_class = r.oid AND w.ev_type = '1') AS rule,
    ARRAY(
        SELECT jsonb_build_array(d.refobjid::bigint, d.refobjsubid, d.refclassid = 'pg_proc'::regclass)
        FROM pg_depend d
        WHERE (
            d.classid = r.class AND d.objid = r.oid AND r.class = 'pg_proc'::regclass
            OR r.class = 'pg_class'::regclass AND d.classid = 'pg_rewrite'::regclass AND d.objid IN (
                SELECT w.oid FROM pg_rewrite w WHERE w.ev_class = r.oid AND w.ev_type = '1')
        )
        AND d.refclassid IN ('pg_class'::regclass, 'pg_proc'::regclass)
        AND NOT (d.refclassid = r.class AND d.refobjid = r.oid)
    ) AS reads,
    -- What a function does that is only kept as text, nobody can see, unless it says that it reads no table.
    r.class = 'pg_proc'::regclass AND EXISTS (
        SELECT FROM pg_proc p
        WHERE p.oid = r.oid AND p.provolatile <> 'i' AND to_jsonb(p) ->> 'prosqlbody' IS NULL
          AND NOT EXISTS (
              SELECT FROM pg_depend e
              WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e')
    ) AS opaque
FROM reached r
