-- Every table that a dump has, with the file that its rows are in at this transaction's moment. A partitioned one
-- (kind p) has none itself. Of an extension's own tables a dump has the rows that those who use it put there,
-- by a condition ('' is all of them); what is no extension's has NULL there. Of a standby no unlogged ones.
-- Parameter: sizes, whether they are wanted.
SELECT c.oid::bigint AS oid,
       c.relkind::text AS kind,
       n.nspname AS schema_name,
       c.relname AS name,
       o.rolname AS owner,
       ARRAY(
           SELECT a.attname::text FROM pg_attribute AS a
           WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
           ORDER BY a.attnum
       ) AS columns,
       -- It waits for who has locked the table; NULL where it was dropped since.
       CASE WHEN %(sizes)s THEN coalesce(pg_table_size(c.oid), 0) ELSE 0 END AS size_bytes,
       c.relfilenode::bigint AS file,
       x.condition AS extension_condition
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_roles AS o ON o.oid = c.relowner
LEFT JOIN (
    SELECT unnest(e.extconfig) AS oid, unnest(e.extcondition) AS condition FROM pg_extension AS e
) AS x ON x.oid = c.oid
WHERE c.relkind IN ('r', 'p')
  AND c.relpersistence <> 't'
  AND NOT (c.relpersistence = 'u' AND pg_is_in_recovery())
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND (
      x.oid IS NOT NULL
      OR NOT EXISTS (
          SELECT FROM pg_depend AS e
          WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e'
      )
  )
ORDER BY size_bytes DESC, schema_name, name
