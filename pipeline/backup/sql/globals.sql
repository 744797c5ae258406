-- The roles of the server, their memberships and settings, as SQL; never a password. It can be run on a server
-- that has some of them already. What only a superuser may give is on lines of its own.
WITH role AS (
    SELECT r.* FROM pg_roles AS r WHERE r.rolname !~ '^pg_'
), line (step, name, statement) AS (
    SELECT 1, rolname, format(
        'DO $globals$ BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = %L) '
        'THEN CREATE ROLE %I; END IF; END $globals$;', rolname, rolname
    )
    FROM role
    UNION ALL
    -- The first superuser (10) is there on every server, as it is there.
    SELECT 2, rolname, format(
        'ALTER ROLE %I WITH %s %s %s %s CONNECTION LIMIT %s%s;', rolname,
        CASE WHEN rolcanlogin THEN 'LOGIN' ELSE 'NOLOGIN' END,
        CASE WHEN rolinherit THEN 'INHERIT' ELSE 'NOINHERIT' END,
        CASE WHEN rolcreatedb THEN 'CREATEDB' ELSE 'NOCREATEDB' END,
        CASE WHEN rolcreaterole THEN 'CREATEROLE' ELSE 'NOCREATEROLE' END,
        rolconnlimit,
        CASE WHEN rolvaliduntil IS NOT NULL THEN format(' VALID UNTIL %L', rolvaliduntil::text) ELSE '' END
    )
    FROM role WHERE oid <> 10
    UNION ALL
    SELECT 3, rolname, format(
        'ALTER ROLE %I WITH%s%s%s;', rolname,
        CASE WHEN rolsuper THEN ' SUPERUSER' ELSE '' END,
        CASE WHEN rolreplication THEN ' REPLICATION' ELSE '' END,
        CASE WHEN rolbypassrls THEN ' BYPASSRLS' ELSE '' END
    )
    FROM role WHERE oid <> 10 AND (rolsuper OR rolreplication OR rolbypassrls)
    UNION ALL
    SELECT 4, g.rolname || ' ' || m.rolname, format(
        'GRANT %I TO %I%s;', g.rolname, m.rolname,
        CASE
            -- Options that PostgreSQL 16 has and the ones before it have not.
            WHEN to_jsonb(a) ? 'inherit_option' THEN format(
                ' WITH ADMIN %s, INHERIT %s, SET %s', upper(a.admin_option::text),
                upper(to_jsonb(a) ->> 'inherit_option'), upper(to_jsonb(a) ->> 'set_option')
            )
            WHEN a.admin_option THEN ' WITH ADMIN OPTION'
            ELSE ''
        END
    )
    FROM pg_auth_members AS a
    JOIN pg_roles AS g ON g.oid = a.roleid
    JOIN role AS m ON m.oid = a.member
    UNION ALL
    SELECT 5, r.rolname || ' ' || s.number, format(
        'ALTER ROLE %I SET %I TO %s;', r.rolname, split_part(s.setting, '=', 1),
        -- A list is kept as it was written, quotes included; anything else is one value.
        CASE
            WHEN lower(split_part(s.setting, '=', 1)) IN (
                'search_path', 'datestyle', 'local_preload_libraries', 'session_preload_libraries',
                'temp_tablespaces', 'unix_socket_directories'
            )
            THEN substr(s.setting, strpos(s.setting, '=') + 1)
            ELSE quote_literal(substr(s.setting, strpos(s.setting, '=') + 1))
        END
    )
    FROM pg_db_role_setting AS c
    JOIN role AS r ON r.oid = c.setrole
    CROSS JOIN unnest(c.setconfig) WITH ORDINALITY AS s (setting, number)
    WHERE c.setdatabase = 0
)
SELECT statement FROM (SELECT DISTINCT statement, step, name FROM line) AS l ORDER BY step, name, statement
