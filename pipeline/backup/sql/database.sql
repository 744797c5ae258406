-- The database we are in, and its server.
SELECT d.datname AS name,
       o.rolname AS owner,
       pg_encoding_to_char(d.encoding) AS encoding,
       d.datcollate AS collate,
       d.datctype AS ctype,
       -- Columns that not every version has: NULL where it has not.
       coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') AS locale_provider,
       coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale') AS locale,
       pg_database_size(d.oid) AS size_bytes,
       current_setting('server_version') AS version,
       current_setting('server_version_num')::integer AS version_number,
       (SELECT system_identifier::text FROM pg_control_system()) AS system_identifier,
       -- The role that initdb made, whatever it is called.
       (SELECT rolname FROM pg_roles WHERE oid = 10) AS superuser,
       -- How far it had been written, or replayed.
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END::text
           AS wal_lsn,
       to_jsonb(d) ->> 'daticurules' AS icu_rules,
       d.datconnlimit AS connection_limit,
       -- NULL is what a new database has: everybody may connect. In an empty one everything was revoked.
       d.datacl IS NOT NULL AS has_acl
FROM pg_database AS d
JOIN pg_roles AS o ON o.oid = d.datdba
WHERE d.datname = current_database()
