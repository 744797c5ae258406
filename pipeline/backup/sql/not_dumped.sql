-- What belongs to this database and is not in its dump, by kind and name, and whether that is the nature of every
-- dump: then nobody need be warned.
WITH own AS (
    SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database()
), login AS (
    SELECT r.rolsuper FROM pg_roles AS r WHERE r.rolname = current_user
), relation AS (
    SELECT c.oid, c.relkind, c.relpersistence, c.reltablespace, c.oid::regclass::text AS name
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relpersistence <> 't'
), found (kind, name, by_nature) AS (
    -- The view shows no options to whom it may not, and pg_dump asks the view.
    SELECT 'options of a user mapping', format('%%s on server %%s', m.usename, m.srvname), false
    FROM pg_user_mappings AS m
    JOIN pg_foreign_server AS s ON s.oid = m.srvid
    CROSS JOIN login
    WHERE m.umoptions IS NULL AND NOT login.rolsuper
      AND NOT (
          CASE WHEN m.umuser <> 0 THEN m.usename = current_user ELSE true END
          AND (pg_has_role(s.srvowner, 'USAGE') OR m.umuser <> 0 AND has_server_privilege(s.oid, 'USAGE'))
      )
    UNION ALL
    SELECT 'subscription', p.subname, false FROM pg_subscription AS p CROSS JOIN login
    WHERE p.subdbid = (SELECT oid FROM own) AND NOT login.rolsuper
    UNION ALL
    SELECT 'rows of an unlogged table, which a standby has not', r.name, false FROM relation AS r
    WHERE r.relkind = 'r' AND r.relpersistence = 'u' AND pg_is_in_recovery()
    UNION ALL
    SELECT 'rows of a table that belongs to an extension', format('%%s (%%s)', r.name, e.extname), false
    FROM relation AS r
    JOIN pg_depend AS d ON d.classid = 'pg_class'::regclass AND d.objid = r.oid AND d.deptype = 'e'
    JOIN pg_extension AS e ON e.oid = d.refobjid
    WHERE r.relkind = 'r' AND pg_relation_size(r.oid) > 0 AND r.oid <> ALL (coalesce(e.extconfig, '{}'))
    UNION ALL
    SELECT 'place in the tablespace', format('%%s of %%s', t.spcname, string_agg(r.name, ', ' ORDER BY r.name)), false
    FROM relation AS r JOIN pg_tablespace AS t ON t.oid = r.reltablespace
    GROUP BY t.spcname
    UNION ALL
    -- What is in none of its own is in that of the database.
    SELECT 'place in the tablespace', format('%%s of the database', t.spcname), false
    FROM pg_database AS d JOIN pg_tablespace AS t ON t.oid = d.dattablespace
    WHERE d.oid = (SELECT oid FROM own) AND t.spcname <> 'pg_default'
    UNION ALL
    SELECT 'prepared transaction', x.gid, false FROM pg_prepared_xacts AS x WHERE x.database = current_database()
    UNION ALL
    SELECT 'replication slot', s.slot_name, false FROM pg_replication_slots AS s
    WHERE s.database = current_database() AND NOT s.temporary
    UNION ALL
    -- It is in the dump, but only with the name of the database. So is the next.
    SELECT 'security label of the database', l.provider, false FROM pg_shseclabel AS l
    WHERE l.classoid = 'pg_database'::regclass AND l.objoid = (SELECT oid FROM own)
    UNION ALL
    SELECT 'mark as a template', d.datname, false FROM pg_database AS d
    WHERE d.oid = (SELECT oid FROM own) AND d.datistemplate
    UNION ALL
    SELECT 'security label of a role', r.rolname, false
    FROM pg_shseclabel AS l JOIN pg_roles AS r ON r.oid = l.objoid AND l.classoid = 'pg_authid'::regclass
    WHERE r.rolname = ANY (%(roles)s)
    UNION ALL
    SELECT 'comment on a role', r.rolname, false
    FROM pg_shdescription AS c JOIN pg_roles AS r ON r.oid = c.objoid AND c.classoid = 'pg_authid'::regclass
    WHERE r.rolname = ANY (%(roles)s)
    UNION ALL
    SELECT 'password', r.rolname, true FROM pg_roles AS r WHERE r.rolcanlogin AND r.rolname = ANY (%(roles)s)
)
SELECT kind, name, by_nature FROM found ORDER BY by_nature, kind, name
