-- What a view reads, by the server's own account: each relation, with the columns of it.
-- Parameter: the view's oid.
SELECT
    n.nspname || '.' || c.relname AS relation,
    array_agg(DISTINCT a.attname::text) FILTER (WHERE a.attname IS NOT NULL) AS columns
FROM pg_catalog.pg_rewrite r
JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = r.oid
    AND d.refclassid = 'pg_catalog.pg_class'::regclass
JOIN pg_catalog.pg_class c ON c.oid = d.refobjid AND c.oid <> r.ev_class
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid AND a.attnum > 0
WHERE r.ev_class = %s
GROUP BY 1
ORDER BY 1
