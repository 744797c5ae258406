-- The sequences that belong to no extension, with the value each has reached; NULL if it was never used.
SELECT s.schemaname AS schema_name, s.sequencename AS name, s.last_value
FROM pg_sequences AS s
JOIN pg_class AS c ON c.relname = s.sequencename AND c.relkind = 'S'
JOIN pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = s.schemaname
WHERE c.relpersistence <> 't'
  AND NOT EXISTS (
      SELECT FROM pg_depend AS e
      WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e'
  )
ORDER BY schema_name, name
