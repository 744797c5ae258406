-- What is set for sessions in this database: for all of them (role is NULL), or for those of one role.
SELECT r.rolname AS role, split_part(s.setting, '=', 1) AS name, substr(s.setting, strpos(s.setting, '=') + 1) AS value
FROM pg_db_role_setting AS c
JOIN pg_database AS d ON d.oid = c.setdatabase
LEFT JOIN pg_roles AS r ON r.oid = c.setrole
CROSS JOIN unnest(c.setconfig) WITH ORDINALITY AS s (setting, number)
WHERE d.datname = current_database()
ORDER BY role NULLS FIRST, s.number
