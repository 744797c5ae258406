-- Who may set which parameter of the server (PostgreSQL 15 and later), as SQL that only a superuser may run. What
-- the first superuser (10) may, it may on every server.
SELECT format(
    'GRANT %s ON PARAMETER %I TO %s%s;', a.privilege_type, p.parname,
    CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END,
    CASE WHEN bool_or(a.is_grantable) THEN ' WITH GRANT OPTION' ELSE '' END
) AS statement
FROM pg_parameter_acl AS p
CROSS JOIN LATERAL aclexplode(p.paracl) AS a
LEFT JOIN pg_roles AS r ON r.oid = a.grantee
WHERE a.grantee <> 10
GROUP BY p.parname, a.privilege_type, a.grantee, r.rolname
ORDER BY statement
