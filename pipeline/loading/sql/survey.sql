-- Every table and view outside of the system's own schemas, and what the role of this session may do with it.
-- Partitions belong to their parents. Sizes are the planner's: they cost nothing and wait for no lock.
SELECT
    n.nspname::text AS schema,
    c.relname::text AS name,
    c.relkind::text AS kind,
    has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') AS readable,
    c.relrowsecurity AND row_security_active(c.oid) AS row_security,
    coalesce(size.rows, 0) AS rows,
    coalesce(size.bytes, 0) AS size_bytes,
    ARRAY(
        SELECT a.attname::text
        FROM unnest(k.columns) WITH ORDINALITY AS u (attnum, position)
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = u.attnum
        ORDER BY u.position
    ) AS key,
    coalesce(k.indisprimary, false) AS key_is_primary,
    ARRAY(
        SELECT DISTINCT a.attname::text
        FROM pg_index i
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
        WHERE i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL
    ) AS indexed,
    (
        SELECT e.extname::text FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e' LIMIT 1
    ) AS extension,
    ARRAY(
        SELECT ARRAY[a.attname::text, format_type(a.atttypid, NULL)]
        FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        ORDER BY a.attnum
    ) AS columns,
    c.relispopulated AS populated
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    SELECT sum(greatest(p.reltuples, 0))::bigint AS rows,
           sum(p.relpages)::bigint * current_setting('block_size')::bigint AS bytes
    FROM pg_class p
    WHERE p.oid = c.oid AND c.relkind <> 'p'
       OR c.relkind = 'p' AND p.oid IN (SELECT t.relid FROM pg_partition_tree(c.oid) t WHERE t.isleaf)
) AS size
-- The primary key, else the smallest unique index whose columns are never null.
LEFT JOIN LATERAL (
    SELECT i.indisprimary, (i.indkey::int2[])[0:i.indnkeyatts - 1] AS columns
    FROM pg_index i
    JOIN pg_class x ON x.oid = i.indexrelid
    WHERE i.indrelid = c.oid AND i.indisunique AND i.indimmediate AND i.indisvalid
      AND i.indpred IS NULL AND i.indexprs IS NULL
      AND NOT EXISTS (
          SELECT FROM unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) AS u (attnum)
          JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = u.attnum
          WHERE NOT a.attnotnull
             -- Since PostgreSQL 18 that is true of NOT NULL ... NOT VALID as well, which older rows need not keep.
             OR EXISTS (
                 SELECT FROM pg_constraint r
                 WHERE r.conrelid = c.oid AND r.contype = 'n' AND NOT r.convalidated AND a.attnum = ANY (r.conkey)
             )
      )
    ORDER BY i.indisprimary DESC, i.indnkeyatts, x.relname
    LIMIT 1
) AS k ON true
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND NOT c.relispartition
  AND n.nspname !~ '^pg_'
  AND n.nspname <> 'information_schema'
ORDER BY n.nspname <> 'public', n.nspname, c.relname
