-- The columns of one relation as its server describes them, in order.
-- Parameter: the relation's oid.
SELECT
    a.attnum,
    a.attname AS name,
    format_type(a.atttypid, a.atttypmod) AS type,
    a.attnotnull AS not_null,
    coalesce(has_column_privilege(a.attrelid, a.attnum, 'SELECT'), true) AS readable,
    -- Only what is generated names other columns, and naming those of a wide table takes its square in time.
    pg_get_expr(d.adbin, CASE WHEN a.attgenerated <> '' THEN d.adrelid ELSE 0 END) AS default,
    a.attgenerated <> '' AS generated,
    a.attidentity <> '' AS identity,
    e.typtype::text AS type_class,
    -- Oids below 10000 are the same on every server, and so is what they mean.
    n.nspname = 'pg_catalog' AND e.oid < 10000 AS built_in,
    n.nspname AS type_schema,
    e.typname AS type_name,
    e.oid <> t.oid AS array,
    ARRAY(SELECT l.enumlabel::text FROM pg_enum l WHERE l.enumtypid = e.oid ORDER BY l.enumsortorder) AS labels,
    t.oid::bigint AS type_oid
FROM pg_attribute a
JOIN pg_type t ON t.oid = a.atttypid
-- An array is judged by its elements.
LEFT JOIN pg_type i ON i.oid = t.typelem AND i.typarray = t.oid
JOIN pg_type e ON e.oid = coalesce(i.oid, t.oid)
JOIN pg_namespace n ON n.oid = e.typnamespace
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
