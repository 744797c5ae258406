-- Which of these types the server has: (schema or extension, name, schema it is in).
-- Parameter: names of types.
SELECT x.extname AS extension, t.typname AS name, n.nspname AS schema
FROM pg_type t
JOIN pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e'
LEFT JOIN pg_extension x ON x.oid = d.refobjid
WHERE t.typname = ANY (%s) AND (x.extname IS NOT NULL OR n.nspname = 'pg_catalog' AND t.oid < 10000)
