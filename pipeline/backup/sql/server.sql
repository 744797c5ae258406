-- Which server this is, and the newest segment of WAL that it says it has archived.
SELECT c.system_identifier::text AS system_identifier,
       current_setting('server_version_num')::integer / 10000 AS major,
       a.last_archived_wal AS archived
FROM pg_control_system() AS c, pg_stat_archiver AS a
