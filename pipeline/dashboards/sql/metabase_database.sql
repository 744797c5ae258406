-- Whether a database is what Metabase wants for its own. Of another program's tables only the number is told.
SELECT
    current_setting('server_encoding') AS encoding,
    EXISTS (SELECT FROM pg_class WHERE relname = 'databasechangelog')
        AND EXISTS (SELECT FROM pg_class WHERE relname = 'metabase_database') AS is_metabase,
    (
        SELECT count(*) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    ) AS others,
    -- It makes its tables in the first schema of its search path.
    coalesce(has_schema_privilege(to_regnamespace('public'), 'CREATE'), false) AS may_create,
    format('GRANT CREATE ON SCHEMA public TO %I', current_user) AS statement
