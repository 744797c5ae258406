-- The indexes of a table that belong to no constraint: what makes each, and the columns it needs.
-- Parameters: schema, name of the table.
SELECT
    pg_get_indexdef(i.indexrelid) AS definition,
    ARRAY(
        SELECT DISTINCT a.attname::text
        FROM pg_depend d JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = d.refobjsubid
        WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
          AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid AND d.refobjsubid > 0
    ) AS columns
FROM pg_index i
JOIN pg_class t ON t.oid = i.indrelid
JOIN pg_namespace n ON n.oid = t.relnamespace
WHERE n.nspname = %s AND t.relname = %s
  AND NOT EXISTS (
      SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid AND c.conrelid = i.indrelid
  )
ORDER BY i.indexrelid
