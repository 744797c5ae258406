-- Of some types those of other people's making: neither the server's, an extension's nor ours, and no enum, the
-- values of which are labels. Ours is also what the owner of the ledger made, as whom we may have logged in before.
-- Parameter: the types' oids.
SELECT t.oid::bigint, pg_catalog.format_type(t.oid, NULL) AS name
FROM pg_catalog.pg_type t
JOIN pg_catalog.pg_roles o ON o.oid = t.typowner
LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem AND e.typarray = t.oid
WHERE t.oid = ANY (%s::oid[])
  AND coalesce(e.typtype, t.typtype) <> 'e'
  AND NOT o.rolsuper
  AND o.rolname <> current_user
  AND o.oid NOT IN (SELECT n.nspowner FROM pg_catalog.pg_namespace n WHERE n.nspname = 'ops')
ORDER BY 2
