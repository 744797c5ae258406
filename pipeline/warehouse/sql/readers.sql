-- Who else holds a lock of a table, or of a view on it, the longest first.
-- Parameters: schema, name of the table.
WITH RECURSIVE chain (oid) AS (
    SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %s AND c.relname = %s
    UNION
    SELECT r.ev_class FROM chain
    JOIN pg_depend d ON d.refobjid = chain.oid AND d.refclassid = 'pg_class'::regclass
    JOIN pg_rewrite r ON r.oid = d.objid AND d.classid = 'pg_rewrite'::regclass
)
SELECT DISTINCT l.pid, coalesce(a.usename::text, a.backend_type) AS role, a.xact_start AS since
FROM pg_locks l
JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'relation' AND l.granted AND l.pid <> pg_backend_pid()
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.relation IN (SELECT oid FROM chain)
ORDER BY since, pid
LIMIT 5
