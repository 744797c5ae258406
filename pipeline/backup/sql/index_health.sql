-- The indexes of the database's own tables: whether each can be used, and which amcheck can look into.
SELECT i.indexrelid::oid AS oid,
       format('%I.%I', n.nspname, c.relname) AS name,
       i.indisvalid AND i.indisready AND i.indislive AS valid,
       a.amname = 'btree' AND c.relkind = 'i' AS btree
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_am AS a ON a.oid = c.relam
WHERE c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY name
