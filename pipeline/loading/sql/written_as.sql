-- How a table's rows are written as text: where its file is, what each column is, and, where a type is not the
-- server's own, every label and attribute of such types. Without a change of that, a row version has one text.
-- Parameters: the table's oid.
SELECT n.nspname AS schema_name, c.relname AS name, pg_relation_filenode(c.oid)::bigint AS storage, md5(concat(
    (SELECT string_agg(format('%%s %%s %%s %%s', a.attnum, a.attname, a.atttypid, a.atttypmod), ',' ORDER BY a.attnum)
     FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0),
    CASE WHEN EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.atttypid >= 16384) THEN concat(
        (SELECT string_agg(format('%%s %%s', e.oid, e.enumlabel), ',' ORDER BY e.oid) FROM pg_enum AS e),
        (SELECT string_agg(format('%%s %%s %%s %%s', a.attrelid, a.attnum, a.atttypid, a.attisdropped), ','
                           ORDER BY a.attrelid, a.attnum)
         FROM pg_attribute AS a JOIN pg_class AS r ON r.oid = a.attrelid
         WHERE a.attnum > 0 AND (r.relkind = 'c' OR r.oid IN (
             -- A table whose row is the type of a column, or is inside of one.
             SELECT coalesce(nullif(t.typrelid, 0), e.typrelid)
             FROM pg_depend AS d JOIN pg_type AS t ON t.oid = d.refobjid LEFT JOIN pg_type AS e ON e.oid = t.typelem
             WHERE d.refclassid = 'pg_type'::regclass AND d.deptype = 'n'))))
    END)) AS written_as
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = %s AND c.relkind = 'r'
