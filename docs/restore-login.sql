-- Makes the login of [drill] in luigi.cfg, which restores backups: not a superuser. Run it as one, once, on the server
-- that is restored into, with a name and a password of its own:
--   psql --set=login=drill --dbname=postgres --file=docs/restore-login.sql
--   psql --dbname=postgres --command='\password drill'
-- Then put its URI into Vault, at the path that [drill] secret names.
\set ON_ERROR_STOP on
CREATE ROLE :"login" LOGIN CREATEDB CREATEROLE;
-- It may act for the roles that it makes, and give to some of them what they had: reading all data. (Before
-- PostgreSQL 16 there is no such setting, and none is needed.)
SELECT current_setting('server_version_num')::int >= 160000 AS has_self_grant \gset
\if :has_self_grant
ALTER ROLE :"login" SET createrole_self_grant = 'set, inherit';
\endif
GRANT pg_read_all_data TO :"login" WITH ADMIN OPTION;
-- What only a superuser may make is put where every new database begins: amcheck looks into indexes. Add the
-- extensions that your databases use and that are not trusted: 'pipeline check' and a refused restore name them.
\connect template1
CREATE EXTENSION IF NOT EXISTS amcheck;
GRANT EXECUTE ON FUNCTION bt_index_check(regclass), bt_index_check(regclass, boolean) TO :"login";
