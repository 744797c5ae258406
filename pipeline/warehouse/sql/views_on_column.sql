-- The views that read one column of a table.
-- Parameters: schema, table, column.
SELECT DISTINCT format('%%s.%%s', vn.nspname, v.relname)
FROM pg_depend d
JOIN pg_rewrite r ON r.oid = d.objid AND d.classid = 'pg_rewrite'::regclass
JOIN pg_class v ON v.oid = r.ev_class
JOIN pg_namespace vn ON vn.oid = v.relnamespace
JOIN pg_class t ON t.oid = d.refobjid AND d.refclassid = 'pg_class'::regclass
JOIN pg_namespace n ON n.oid = t.relnamespace
JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
WHERE n.nspname = %s AND t.relname = %s AND a.attname = %s AND v.oid <> t.oid
ORDER BY 1
