-- The roles that passed a privilege on which they were given themselves WITH GRANT OPTION: only in their name can
-- it be granted again.
WITH grant_of (owner, acl) AS (
    SELECT relowner, relacl FROM pg_class
    UNION ALL
    SELECT c.relowner, a.attacl FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
    UNION ALL
    SELECT nspowner, nspacl FROM pg_namespace
    UNION ALL
    SELECT proowner, proacl FROM pg_proc
    UNION ALL
    SELECT typowner, typacl FROM pg_type
    UNION ALL
    SELECT lanowner, lanacl FROM pg_language
    UNION ALL
    SELECT lomowner, lomacl FROM pg_largeobject_metadata
    UNION ALL
    SELECT fdwowner, fdwacl FROM pg_foreign_data_wrapper
    UNION ALL
    SELECT srvowner, srvacl FROM pg_foreign_server
)
SELECT DISTINCT r.rolname
FROM grant_of AS g
CROSS JOIN LATERAL aclexplode(g.acl) AS a
JOIN pg_roles AS r ON r.oid = a.grantor
WHERE a.grantor <> g.owner AND r.rolname !~ '^pg_'
ORDER BY r.rolname
