-- The roles that own this database or something in it, or were granted something there.
SELECT r.rolname
FROM pg_shdepend AS d
JOIN pg_roles AS r ON r.oid = d.refobjid
JOIN pg_database AS b ON b.datname = current_database()
WHERE d.refclassid = 'pg_authid'::regclass
  AND r.rolname !~ '^pg_'
  AND (d.dbid = b.oid OR d.dbid = 0 AND d.classid = 'pg_database'::regclass AND d.objid = b.oid)
UNION
SELECT r.rolname FROM pg_database AS b JOIN pg_roles AS r ON r.oid = b.datdba
WHERE b.datname = current_database()
UNION
-- Or have settings of their own in it.
SELECT r.rolname FROM pg_db_role_setting AS c
JOIN pg_database AS b ON b.oid = c.setdatabase
JOIN pg_roles AS r ON r.oid = c.setrole
WHERE b.datname = current_database() AND r.rolname !~ '^pg_'
ORDER BY rolname
