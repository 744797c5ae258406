-- The functions in a view that can do more than compute: those that the server calls volatile, but for a few that
-- only make values up, and those that somebody else than the server or an extension brings.
-- Parameter: the view's oid.
SELECT DISTINCT n.nspname || '.' || p.proname AS name, n.nspname = 'pg_catalog' AS of_server
FROM pg_catalog.pg_rewrite r
CROSS JOIN LATERAL regexp_matches(r.ev_action::text, ':(?:funcid|opfuncid|aggfnoid|winfnoid) (\d+)', 'g') AS f (number)
JOIN pg_catalog.pg_proc p ON p.oid = f.number[1]::oid
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
JOIN pg_catalog.pg_roles o ON o.oid = p.proowner
WHERE r.ev_class = %s
  AND (NOT o.rolsuper
       OR p.provolatile = 'v' AND NOT (n.nspname = 'pg_catalog' AND p.proname IN (
           'random', 'random_normal', 'gen_random_uuid', 'uuidv4', 'uuidv7', 'clock_timestamp', 'timeofday')))
ORDER BY 1
