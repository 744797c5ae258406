-- The schema that amcheck is in, if it is there, and whether this login may look by it into an index with all of its
-- rows. Its first version, which a server that was upgraded may have, cannot.
SELECT n.nspname::text AS name,
       has_schema_privilege(n.oid, 'USAGE') AND EXISTS (
           SELECT FROM pg_proc AS p
           WHERE p.pronamespace = n.oid AND p.proname = 'bt_index_check'
             AND oidvectortypes(p.proargtypes) = 'regclass, boolean' AND has_function_privilege(p.oid, 'EXECUTE')
       ) AS usable
FROM pg_extension AS e
JOIN pg_namespace AS n ON n.oid = e.extnamespace
WHERE e.extname = 'amcheck'
