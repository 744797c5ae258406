-- What our login lacks to back this database up: each thing that pg_dump reads, and the statement that grants it.
WITH login AS (
    SELECT r.oid, quote_ident(r.rolname) AS name, r.rolsuper FROM pg_roles AS r WHERE r.rolname = current_user
), relation AS (
    SELECT c.oid, c.relkind, c.relnamespace, c.oid::regclass::text AS name
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'S') AND c.relpersistence <> 't'
      AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      -- Of an extension's own tables only those are dumped that it names as its configuration.
      AND NOT EXISTS (
          SELECT FROM pg_depend AS d JOIN pg_extension AS e ON e.oid = d.refobjid
          WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
            AND c.oid <> ALL (coalesce(e.extconfig, '{}'))
      )
), lacking (rank, what, statement) AS (
    SELECT 1, format('schema %I', n.nspname), format('GRANT USAGE ON SCHEMA %I TO %s', n.nspname, l.name)
    FROM pg_namespace AS n CROSS JOIN login AS l
    WHERE n.oid IN (SELECT relnamespace FROM relation) AND NOT has_schema_privilege(n.oid, 'USAGE')
    UNION ALL
    SELECT 2, format('table %s', r.name), format('GRANT SELECT ON TABLE %s TO %s', r.name, l.name)
    FROM relation AS r CROSS JOIN login AS l
    WHERE r.relkind <> 'S' AND NOT has_table_privilege(r.oid, 'SELECT')
    UNION ALL
    SELECT 3, format('sequence %s', r.name), format('GRANT SELECT ON SEQUENCE %s TO %s', r.name, l.name)
    FROM relation AS r CROSS JOIN login AS l
    WHERE r.relkind = 'S'
      AND NOT CASE WHEN r.relkind = 'S' THEN has_sequence_privilege(r.oid, 'SELECT') ELSE true END
    UNION ALL
    SELECT 4, format('large object %s', m.oid), format('GRANT SELECT ON LARGE OBJECT %s TO %s', m.oid, l.name)
    FROM pg_largeobject_metadata AS m CROSS JOIN login AS l
    WHERE NOT l.rolsuper AND NOT pg_has_role(m.lomowner, 'USAGE')
      AND NOT current_setting('lo_compat_privileges')::boolean
      AND NOT EXISTS (
          SELECT FROM aclexplode(m.lomacl) AS a
          WHERE a.privilege_type = 'SELECT'
            AND CASE WHEN a.grantee = 0 THEN true ELSE pg_has_role(a.grantee, 'USAGE') END
      )
    UNION ALL
    -- Once for all: it is an attribute of the role.
    SELECT 5, format('rows of %s, which row level security hides', string_agg(r.name, ', ' ORDER BY r.name)),
           format('ALTER ROLE %s BYPASSRLS', min(l.name))
    FROM relation AS r CROSS JOIN login AS l
    WHERE r.relkind <> 'S' AND row_security_active(r.oid)
    HAVING count(*) > 0
)
SELECT what, statement FROM lacking ORDER BY rank, what
