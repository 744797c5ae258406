-- The columns of every table and view of some schemas, with their types and comments.
-- Parameter: the schemas.
SELECT n.nspname || '.' || c.relname AS relation, a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type,
    a.attnotnull AS required, coalesce(col_description(c.oid, a.attnum), '') AS description,
    coalesce(obj_description(c.oid, 'pg_class'), '') AS of_relation
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE n.nspname = ANY (%s) AND c.relkind IN ('r', 'p', 'v', 'm')
ORDER BY 1, a.attnum
