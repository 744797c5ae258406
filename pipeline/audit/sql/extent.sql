-- How many blocks the largest file of a relation has, its partitions' among them, and which files those are.
-- Parameters: schema, relation.
WITH RECURSIVE part (oid) AS (
    SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %s AND c.relname = %s
    UNION
    SELECT i.inhrelid FROM part JOIN pg_inherits i ON i.inhparent = part.oid
)
SELECT
    coalesce(max(pg_relation_size(oid)) / current_setting('block_size')::bigint, 0) AS blocks,
    coalesce(md5(string_agg(pg_relation_filenode(oid)::text, ',' ORDER BY oid)), '') AS storage
FROM part
WHERE pg_relation_filenode(oid) IS NOT NULL
