-- The columns of one relation as its server describes them, in order.
-- Parameter: the relation's oid.
SELECT
    a.attnum,
    a.attname,
    format_type(a.atttypid, a.atttypmod),
    a.attnotnull,
    pg_get_expr(d.adbin, d.adrelid),
    a.attgenerated::text,
    a.attidentity::text,
    e.typtype::text,
    e.oid < 16384,
    n.nspname,
    e.typname,
    t.typcategory = 'A',
    -- What a domain is made of, if that is neither a domain nor anything else that a user defined.
    CASE WHEN t.typtype = 'd' AND t.typbasetype < 16384 THEN format_type(t.typbasetype, t.typtypmod) END,
    ARRAY(SELECT l.enumlabel::text FROM pg_enum l WHERE l.enumtypid = e.oid ORDER BY l.enumsortorder)
FROM pg_attribute a
JOIN pg_type t ON t.oid = a.atttypid
-- An array is judged by its elements.
JOIN pg_type e ON e.oid = CASE WHEN t.typcategory = 'A' AND t.typelem <> 0 THEN t.typelem ELSE t.oid END
JOIN pg_namespace n ON n.oid = e.typnamespace
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
