-- Makes the login that backs a database up, or gives one what it lacks: it reads everything and writes nothing. Run it
-- as a superuser in each database that is backed up, again after what is new there:
--   psql --set=login=pipeline_backup --dbname=hr --file=docs/backup-login.sql
--   psql --dbname=hr --command='\password pipeline_backup'
-- Then put its URI into Vault, at the path that [database.hr] secret names. 'pipeline check' says what it still lacks.
\set ON_ERROR_STOP on
SELECT NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'login') AS is_new,
       current_setting('server_version_num')::int >= 140000 AS has_read_all_data,
       EXISTS (SELECT FROM pg_class WHERE relrowsecurity) AS has_row_security
\gset
\if :is_new
CREATE ROLE :"login" LOGIN;
\endif
SELECT format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), :'login') \gexec
-- Every table, sequence and schema, those of extensions and those to come among them.
\if :has_read_all_data
GRANT pg_read_all_data TO :"login";
\else
SELECT format(
    'GRANT USAGE ON SCHEMA %1$I TO %2$I; GRANT SELECT ON ALL TABLES IN SCHEMA %1$I TO %2$I; '
    'GRANT SELECT ON ALL SEQUENCES IN SCHEMA %1$I TO %2$I', nspname, :'login'
)
FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' \gexec
\endif
-- Where policies hide rows: a backup must have all of them, and pg_dump stops rather than leave some out.
\if :has_row_security
ALTER ROLE :"login" BYPASSRLS;
\endif
-- Large objects are in no schema, and reading all data does not mean them. Those that come later are granted by whoever
-- makes them; where that is nobody's habit, run this again, as 'pipeline check' will say.
SELECT format('GRANT SELECT ON LARGE OBJECT %s TO %I', oid, :'login') FROM pg_largeobject_metadata \gexec
