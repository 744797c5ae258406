-- Which of the tables that a relation's rows are in lie elsewhere now than this transaction's snapshot says:
-- they were truncated or rewritten since. Row versions are seen as they were, the file as it is.
-- Parameter: the relation's oid.
WITH RECURSIVE part (oid) AS (
    SELECT %s::oid
    UNION
    SELECT i.inhrelid FROM part JOIN pg_inherits i ON i.inhparent = part.oid
)
SELECT n.nspname::text, c.relname::text
FROM part
JOIN pg_class c ON c.oid = part.oid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relfilenode <> pg_relation_filenode(c.oid)
