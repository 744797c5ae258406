-- The tables and views of a schema on which a role lacks a privilege, where they are ours to grant.
-- Parameters: schema, role, privileges.
SELECT c.relname AS name, p.privilege
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN unnest(%(privileges)s::text[]) AS p (privilege)
WHERE n.nspname = %(schema)s AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND pg_has_role(c.relowner, 'USAGE')
  AND NOT has_table_privilege(%(role)s, c.oid, p.privilege)
ORDER BY 1, 2
