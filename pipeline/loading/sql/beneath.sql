-- The tables that a relation's rows are in: its own, its partitions', and those that a view reads. Nothing is locked.
-- Parameters: schema, name of the relation.
WITH RECURSIVE part (oid) AS (
    SELECT c.oid FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = %s AND c.relname = %s
    UNION
    SELECT n.oid
    FROM part
    CROSS JOIN LATERAL (
        SELECT i.inhrelid FROM pg_inherits AS i WHERE i.inhparent = part.oid
        UNION ALL
        SELECT d.refobjid
        FROM pg_rewrite AS r
        JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
        WHERE r.ev_class = part.oid AND d.refclassid = 'pg_class'::regclass
    ) AS n (oid)
)
SELECT oid::bigint FROM part
