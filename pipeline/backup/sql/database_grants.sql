-- Who may do what with this database itself; a grantee of NULL is everybody. No rows: nothing was ever
-- granted, or everything revoked (has_acl in database.sql).
SELECT r.rolname AS grantee, a.privilege_type AS privilege, bool_or(a.is_grantable) AS grantable
FROM pg_database AS d
CROSS JOIN LATERAL aclexplode(d.datacl) AS a
LEFT JOIN pg_roles AS r ON r.oid = a.grantee
WHERE d.datname = current_database()
GROUP BY r.rolname, a.privilege_type
ORDER BY grantee NULLS FIRST, privilege
