-- What in this database only a superuser may make again, by kind and name. Extensions are another matter: what
-- they need is for the server to say that they are to be made on.
WITH member AS (
    -- Of an extension, or of another object: a range type brings its functions along.
    SELECT e.classid, e.objid FROM pg_depend AS e WHERE e.deptype IN ('e', 'i')
), found (kind, name, class, oid) AS (
    SELECT 'event trigger', evtname::text, tableoid, oid FROM pg_event_trigger
    UNION ALL
    SELECT 'publication for all tables', pubname, tableoid, oid FROM pg_publication WHERE puballtables
    UNION ALL
    -- Since PostgreSQL 15; before, no dependency of a publication is one on a schema.
    SELECT DISTINCT 'publication for tables in a schema', p.pubname, p.tableoid, p.oid
    FROM pg_publication AS p
    JOIN pg_depend AS d ON d.refclassid = 'pg_publication'::regclass AND d.refobjid = p.oid
    WHERE d.classid::regclass::text = 'pg_publication_namespace'
    UNION ALL
    -- Without one, pg_dump leaves them out. Not every column is for everybody.
    SELECT 'subscription', subname, 'pg_subscription'::regclass::oid, 0::oid FROM pg_subscription
    WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
    UNION ALL
    SELECT 'function', p.oid::regprocedure::text, p.tableoid, p.oid
    FROM pg_proc AS p
    JOIN pg_language AS l ON l.oid = p.prolang
    WHERE p.oid >= 16384 AND (NOT l.lanpltrusted OR p.proleakproof OR p.prosupport <> 0)
    UNION ALL
    SELECT 'function', p.oid::regprocedure::text, p.tableoid, p.oid
    FROM pg_proc AS p
    CROSS JOIN unnest(p.proconfig) AS c (setting)
    JOIN pg_settings AS s ON s.name = split_part(c.setting, '=', 1)
    WHERE p.oid >= 16384 AND s.context = 'superuser'
    UNION ALL
    SELECT 'type', t.oid::regtype::text, t.tableoid, t.oid FROM pg_type AS t
    WHERE t.oid >= 16384 AND t.typtype = 'b' AND t.typelem = 0
    UNION ALL
    SELECT 'operator class', opcname::text, tableoid, oid FROM pg_opclass WHERE oid >= 16384
    UNION ALL
    SELECT 'operator family', opfname::text, tableoid, oid FROM pg_opfamily WHERE oid >= 16384
    UNION ALL
    SELECT 'cast', format('%s AS %s', castsource::regtype, casttarget::regtype), tableoid, oid FROM pg_cast
    WHERE oid >= 16384 AND castmethod = 'b'
    UNION ALL
    SELECT 'language', lanname::text, tableoid, oid FROM pg_language WHERE oid >= 16384
    UNION ALL
    SELECT 'access method', amname::text, tableoid, oid FROM pg_am WHERE oid >= 16384
    UNION ALL
    SELECT 'text search parser', prsname::text, tableoid, oid FROM pg_ts_parser WHERE oid >= 16384
    UNION ALL
    SELECT 'text search template', tmplname::text, tableoid, oid FROM pg_ts_template WHERE oid >= 16384
    UNION ALL
    SELECT 'foreign data wrapper', fdwname::text, tableoid, oid FROM pg_foreign_data_wrapper
    UNION ALL
    SELECT 'foreign server', srvname::text, tableoid, oid FROM pg_foreign_server
)
SELECT DISTINCT kind, name FROM found
WHERE NOT EXISTS (SELECT FROM member WHERE classid = found.class AND objid = found.oid)
ORDER BY kind, name
