-- The views that depend on a table, directly or not, each after those it reads, and what makes each again.
-- Parameters: schema, name of the table.
WITH RECURSIVE chain(oid, depth) AS (
    SELECT c.oid, 0
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %s AND c.relname = %s
    UNION
    SELECT v.oid, chain.depth + 1
    FROM chain
    JOIN pg_depend d ON d.refobjid = chain.oid AND d.refclassid = 'pg_class'::regclass
    JOIN pg_rewrite r ON r.oid = d.objid AND d.classid = 'pg_rewrite'::regclass
    JOIN pg_class v ON v.oid = r.ev_class AND v.oid <> chain.oid
    WHERE chain.depth < 50
), views AS (
    SELECT oid, max(depth) AS depth FROM chain WHERE depth > 0 GROUP BY oid
)
SELECT
    v.oid::bigint, n.nspname AS schema, v.relname AS name, v.relkind = 'm' AS materialized,
    v.relkind = 'm' AND v.relispopulated AS populated,
    pg_get_userbyid(v.relowner) AS owner,
    format(
        'CREATE %%s %%I.%%I%%s AS %%s',
        CASE v.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END,
        n.nspname, v.relname,
        coalesce(' WITH (' || array_to_string(v.reloptions, ', ') || ')', ''),
        rtrim(pg_get_viewdef(v.oid), ';') || CASE v.relkind WHEN 'm' THEN ' WITH NO DATA' ELSE '' END
    ) AS definition,
    ARRAY(
        SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i WHERE i.indrelid = v.oid ORDER BY i.indexrelid
    ) AS indexes,
    ARRAY(
        SELECT format(
            'GRANT %%s ON %%I.%%I TO %%s%%s', a.privilege_type, n.nspname, v.relname,
            CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
            CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
        FROM aclexplode(v.relacl) a
        WHERE a.grantee <> v.relowner
          AND a.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER')
    )
    || ARRAY(
        SELECT format(
            'GRANT %%s (%%I) ON %%I.%%I TO %%s%%s', a.privilege_type, c.attname, n.nspname, v.relname,
            CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
            CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
        FROM pg_attribute c CROSS JOIN LATERAL aclexplode(c.attacl) a
        WHERE c.attrelid = v.oid AND c.attnum > 0 AND NOT c.attisdropped
    )
    || ARRAY(
        SELECT CASE WHEN d.objsubid = 0
            THEN format('COMMENT ON %%s %%I.%%I IS %%L',
                        CASE v.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END,
                        n.nspname, v.relname, d.description)
            ELSE format('COMMENT ON COLUMN %%I.%%I.%%I IS %%L', n.nspname, v.relname, c.attname, d.description) END
        FROM pg_description d
        LEFT JOIN pg_attribute c ON c.attrelid = d.objoid AND c.attnum = d.objsubid
        WHERE d.classoid = 'pg_class'::regclass AND d.objoid = v.oid
    ) AS rights
FROM views
JOIN pg_class v ON v.oid = views.oid
JOIN pg_namespace n ON n.oid = v.relnamespace
ORDER BY views.depth, n.nspname, v.relname
