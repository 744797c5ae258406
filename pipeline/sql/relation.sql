-- One relation: its oid and kind, and the columns of its primary key in the key's order.
-- Parameters: schema, name.
SELECT
    c.oid::bigint,
    c.relkind::text,
    ARRAY(
        SELECT a.attname::text
        FROM pg_index i
        CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k(attnum, position)
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
        -- Columns that the index merely INCLUDEs are no part of the key.
        WHERE i.indrelid = c.oid AND i.indisprimary AND k.position <= i.indnkeyatts
        ORDER BY k.position
    ),
    has_table_privilege(c.oid, 'SELECT'),
    ARRAY(
        SELECT t.relid::oid::bigint FROM pg_partition_tree(c.oid) t
        WHERE c.relkind = 'p' AND t.isleaf AND t.relid <> c.oid
        ORDER BY 1
    )
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
