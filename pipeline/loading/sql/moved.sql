-- What of a relation is read otherwise now than this transaction's snapshot says. Rows of tables are seen as they
-- were; files, the parts of a table and the queries of views as they are.
--   moved      a table's rows lie in another file: it was truncated or rewritten since
--   swapped    and that file was another table's at the moment of the snapshot: its rows are as old as the copy
--   detached   a part (a partition, a table that inherits) was taken from its table since
--   attached   a table that was there at that moment is a part since. One that was made since has no row to show
--   redefined  a view has another query since
-- Of a view, also the tables that it reads. (What a materialized view was made anew of is not empty: it shows its new
-- rows to every snapshot.) `hidden`: whether we may not read it by itself. We have the relation's lock by now.
-- Parameter: the relation's oid.
WITH RECURSIVE root (oid) AS (
    SELECT %s::oid
), part (oid, by_view) AS (
    SELECT root.oid, false FROM root
    UNION
    SELECT n.oid, n.by_view
    FROM part
    CROSS JOIN LATERAL (
        SELECT i.inhrelid, part.by_view FROM pg_inherits i WHERE i.inhparent = part.oid
        UNION ALL
        SELECT d.refobjid, true
        FROM pg_class v
        JOIN pg_rewrite r ON r.ev_class = v.oid
        JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
        WHERE v.oid = part.oid AND v.relkind = 'v'
          AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> v.oid
    ) AS n (oid, by_view)
), moment (oldest, next) AS (
    SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint, pg_snapshot_xmax(pg_current_snapshot())::text::bigint
), version (oid, by_view, change, ended_by) AS (
    -- Of what the snapshot shows of the catalog, who has replaced or removed it by now. 0: nobody.
    SELECT i.inhrelid, part.by_view, 'detached', i.xmax::text::bigint
    FROM part JOIN pg_inherits i ON i.inhparent = part.oid
    UNION ALL
    SELECT v.oid, part.by_view, 'redefined', r.xmax::text::bigint
    FROM part JOIN pg_class v ON v.oid = part.oid AND v.relkind = 'v' JOIN pg_rewrite r ON r.ev_class = v.oid
), ended (oid, by_view, change, ended_by) AS (
    -- The same in 64 bits: the one next to the moment that has these 32.
    SELECT v.oid, v.by_view, v.change,
           m.next + (nullif(v.ended_by, 0) - m.next %% 4294967296 + 3 * 2147483648) %% 4294967296 - 2147483648
    FROM version v CROSS JOIN moment m
), changed (oid, by_view, change) AS (
    SELECT e.oid, e.by_view, e.change
    FROM ended e CROSS JOIN moment m
    -- What was begun and rolled back is there too. (A CASE, since only of what is not older can it be asked.)
    WHERE CASE WHEN e.ended_by >= m.oldest THEN pg_xact_status(e.ended_by::text::xid8) = 'committed' END
    UNION ALL
    SELECT l.relation, false, 'attached'
    FROM root
    JOIN pg_class r ON r.oid = root.oid AND r.relkind IN ('r', 'p')
    -- Those that a query of it reads now have our lock.
    CROSS JOIN pg_locks l
    JOIN pg_class c ON c.oid = l.relation AND c.oid >= 16384 AND c.relkind IN ('r', 'p', 'f')
    WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.granted
      AND NOT EXISTS (SELECT FROM part WHERE part.oid = l.relation)
    UNION ALL
    SELECT c.oid, part.by_view, CASE
        WHEN EXISTS (
            SELECT FROM pg_class o WHERE o.relfilenode = pg_relation_filenode(c.oid) AND o.oid <> c.oid
        ) THEN 'swapped' ELSE 'moved'
    END
    FROM part JOIN pg_class c ON c.oid = part.oid
    WHERE c.relkind = 'r' AND c.relfilenode <> pg_relation_filenode(c.oid)
)
SELECT DISTINCT
    n.nspname::text AS schema,
    c.relname::text AS name,
    changed.change,
    -- As behind a view, or in a partition of a table that is granted while its partitions are not.
    changed.by_view OR NOT (
        has_schema_privilege(n.oid, 'USAGE') AND coalesce(has_any_column_privilege(c.oid, 'SELECT'), false)
    ) AS hidden
FROM changed
JOIN pg_class c ON c.oid = changed.oid
JOIN pg_namespace n ON n.oid = c.relnamespace
