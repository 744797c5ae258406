-- One relation: its oid and kind, its key's columns in order, whether we may read it, and what its rows are in.
-- Parameters: schema, name.
WITH RECURSIVE relation AS (
    SELECT c.oid, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
), part (oid, relkind) AS (
    -- Its partitions, and the tables that inherit from it: a query of it gives their rows too.
    SELECT c.oid, c.relkind FROM relation r
    JOIN pg_inherits i ON i.inhparent = r.oid JOIN pg_class c ON c.oid = i.inhrelid
    UNION
    SELECT c.oid, c.relkind FROM part p
    JOIN pg_inherits i ON i.inhparent = p.oid JOIN pg_class c ON c.oid = i.inhrelid
)
SELECT
    c.oid::bigint AS oid,
    c.relkind::text AS kind,
    ARRAY(
        SELECT a.attname::text
        FROM pg_index i
        CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k(attnum, position)
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
        -- Columns that the index merely INCLUDEs are no part of the key.
        -- One that was added to a partitioned table ONLY is not valid until every partition has it: it proves nothing.
        WHERE i.indrelid = c.oid AND i.indisprimary AND i.indisvalid AND k.position <= i.indnkeyatts
        ORDER BY k.position
    ) AS key,
    has_table_privilege(c.oid, 'SELECT') OR has_any_column_privilege(c.oid, 'SELECT') AS readable,
    -- Of xmin (number -2), which is granted with the whole table, or by its name. NULL where there is none.
    coalesce(has_column_privilege(c.oid, (-2)::smallint, 'SELECT'), true) AS xmin_readable,
    -- And of ctid (number -1).
    coalesce(has_column_privilege(c.oid, (-1)::smallint, 'SELECT'), true) AS ctid_readable,
    ARRAY(SELECT p.oid::bigint FROM part p WHERE p.relkind <> 'p' ORDER BY 1) AS partitions,
    EXISTS (SELECT FROM part p WHERE p.relkind = 'f') AS foreign_part,
    -- Whatever row_security is in this session. A query of the relation goes by its own policies alone, and not by
    -- those of its parts.
    row_security_active(c.oid) AS hides_rows
FROM relation c
