-- The extensions, with version and schema.
SELECT e.extname AS name, e.extversion AS version, n.nspname AS schema_name
FROM pg_extension AS e
JOIN pg_namespace AS n ON n.oid = e.extnamespace
ORDER BY name
