-- The columns of a view with their types; of a domain, which whoever copies rows into a table would have checked, what
-- it constrains.
-- Parameter: the view's oid.
WITH RECURSIVE plain (number, name, sorted_by, type, modifier) AS (
    SELECT a.attnum, a.attname, a.attcollation, a.atttypid, a.atttypmod
    FROM pg_catalog.pg_attribute a
    WHERE a.attrelid = %s AND a.attnum > 0
    UNION ALL
    SELECT p.number, p.name, p.sorted_by, d.typbasetype, d.typtypmod
    FROM plain p JOIN pg_catalog.pg_type d ON d.oid = p.type AND d.typtype = 'd'
)
SELECT
    p.name,
    pg_catalog.format_type(p.type, p.modifier) AS type,
    CASE WHEN p.sorted_by <> t.typcollation
        THEN pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.collname)
    END AS collation
FROM plain p
JOIN pg_catalog.pg_type t ON t.oid = p.type AND t.typtype <> 'd'
LEFT JOIN pg_catalog.pg_collation c ON c.oid = p.sorted_by
LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.collnamespace
ORDER BY p.number
