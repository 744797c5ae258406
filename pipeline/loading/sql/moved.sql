-- Which of the tables that a relation's rows are in lie elsewhere now than this transaction's snapshot says:
-- they were truncated or rewritten since. Row versions are seen as they were, the file as it is. Of a view, also
-- the tables that it reads, and whether it is by a view that they are read. (What a materialized view was made anew
-- of is not empty: it shows its new rows to every snapshot.)
-- Parameter: the relation's oid.
WITH RECURSIVE part (oid, by_view) AS (
    SELECT %s::oid, false
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
)
SELECT DISTINCT n.nspname::text AS schema, c.relname::text AS name, part.by_view
FROM part
JOIN pg_class c ON c.oid = part.oid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relfilenode <> pg_relation_filenode(c.oid)
