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
       current_setting('server_version_num')::integer AS version_number
FROM pg_database AS d
JOIN pg_roles AS o ON o.oid = d.datdba
WHERE d.datname = current_database()
