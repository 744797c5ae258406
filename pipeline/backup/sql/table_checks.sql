-- The checks of a table that are its own, so that they can be taken away and put back.
-- Parameters: schema, name.
SELECT k.conname AS name, pg_get_constraintdef(k.oid) AS definition
FROM pg_constraint AS k
JOIN pg_class AS c ON c.oid = k.conrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s AND k.contype = 'c' AND k.conislocal AND k.coninhcount = 0
ORDER BY k.conname
