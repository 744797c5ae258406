-- Every table that a dump has, with the file that its rows are in at this transaction's moment. A partitioned one
-- (kind p) has none itself. Of an extension's own tables a dump has the rows that those who use it put there,
-- by a condition ('' is all of them); what is no extension's has NULL there. Of a standby no unlogged ones.
-- enum_root is the table by whose enum it is a partition by hash, NULL for all others: see partitions.py. It has
-- its columns in the order of that one, in which a row reads the same wherever it lies.
-- Parameter: sizes, whether they are wanted.
WITH RECURSIVE below AS (
    -- As pg_dump itself tells them.
    SELECT p.partrelid AS root, p.partrelid AS oid
    FROM pg_partitioned_table AS p
    WHERE (
        SELECT o.oid FROM pg_opclass AS o JOIN pg_am AS m ON m.oid = o.opcmethod
        WHERE o.opcname = 'enum_ops' AND o.opcnamespace = 'pg_catalog'::regnamespace AND m.amname = 'hash'
    ) = ANY (p.partclass)
    UNION ALL
    SELECT b.root, i.inhrelid FROM below AS b JOIN pg_inherits AS i ON i.inhparent = b.oid
)
SELECT c.oid::bigint AS oid,
       c.relkind::text AS kind,
       n.nspname AS schema_name,
       c.relname AS name,
       o.rolname AS owner,
       ARRAY(
           SELECT a.attname::text FROM pg_attribute AS a
           LEFT JOIN pg_attribute AS ra ON ra.attrelid = r.oid AND ra.attname = a.attname
           WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
           ORDER BY coalesce(ra.attnum, a.attnum)
       ) AS columns,
       -- It waits for who has locked the table; NULL where it was dropped since.
       CASE WHEN %(sizes)s THEN coalesce(pg_table_size(c.oid), 0) ELSE 0 END AS size_bytes,
       c.relfilenode::bigint AS file,
       x.condition AS extension_condition,
       rn.nspname || '.' || r.relname AS enum_root
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_roles AS o ON o.oid = c.relowner
LEFT JOIN (
    SELECT unnest(e.extconfig) AS oid, unnest(e.extcondition) AS condition FROM pg_extension AS e
) AS x ON x.oid = c.oid
-- The highest, where there are several.
LEFT JOIN below AS b
    ON b.oid = c.oid
    AND NOT EXISTS (SELECT FROM below AS h WHERE h.oid = b.root AND h.root <> b.root)
LEFT JOIN pg_class AS r ON r.oid = b.root
LEFT JOIN pg_namespace AS rn ON rn.oid = r.relnamespace
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
