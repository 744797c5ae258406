-- What gives a table's owner, grants and comments to another table of the same name, each with the column that
-- it is about, if it is about one.
-- Parameters: schema, name.
WITH t AS (
    SELECT c.* FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %s AND c.relname = %s
)
SELECT format('ALTER TABLE %%s OWNER TO %%I', t.oid::regclass, pg_get_userbyid(t.relowner)) AS statement, NULL AS about
FROM t
UNION ALL
SELECT format(
    'GRANT %%s ON %%s TO %%s%%s', a.privilege_type, t.oid::regclass,
    CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
    CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END), NULL
FROM t CROSS JOIN LATERAL aclexplode(t.relacl) a
WHERE a.grantee <> t.relowner
  AND a.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER')
UNION ALL
SELECT format(
    'GRANT %%s (%%I) ON %%s TO %%s%%s', a.privilege_type, c.attname, t.oid::regclass,
    CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
    CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END), c.attname
FROM t
JOIN pg_attribute c ON c.attrelid = t.oid AND c.attnum > 0 AND NOT c.attisdropped
CROSS JOIN LATERAL aclexplode(c.attacl) a
UNION ALL
SELECT CASE WHEN d.objsubid = 0
    THEN format('COMMENT ON TABLE %%s IS %%L', t.oid::regclass, d.description)
    ELSE format('COMMENT ON COLUMN %%s.%%I IS %%L', t.oid::regclass, c.attname, d.description) END, c.attname
FROM t
JOIN pg_description d ON d.classoid = 'pg_class'::regclass AND d.objoid = t.oid
LEFT JOIN pg_attribute c ON c.attrelid = t.oid AND c.attnum = d.objsubid
