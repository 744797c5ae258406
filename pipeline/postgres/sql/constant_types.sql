-- The types, none of the server's own, of the constants in the definitions of views and in their indexes.
-- Parameter: the views' oids.
WITH written (relation, tree) AS (
    SELECT ev_class, ev_action::text FROM pg_catalog.pg_rewrite
    UNION ALL
    SELECT indrelid, indexprs::text FROM pg_catalog.pg_index WHERE indexprs IS NOT NULL
    UNION ALL
    SELECT indrelid, indpred::text FROM pg_catalog.pg_index WHERE indpred IS NOT NULL
)
SELECT DISTINCT w.relation::bigint, c.number[1]::bigint AS type
FROM written w CROSS JOIN LATERAL pg_catalog.regexp_matches(w.tree, ':consttype (\d+)', 'g') AS c (number)
-- Oids below are those of the server itself.
WHERE w.relation = ANY (%s::oid[]) AND c.number[1]::bigint >= 16384
