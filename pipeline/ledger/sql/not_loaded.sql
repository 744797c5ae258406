-- How many of these tables a run has not loaded, or are not there any more.
-- Parameters: run, task (of the load), sources and tables (of each table, its source and its name).
SELECT count(*)
FROM unnest(%(sources)s::text[], %(tables)s::text[]) AS w (source, name)
WHERE NOT EXISTS (
    SELECT FROM ops.step s
    WHERE s.run = %(run)s AND s.task = %(task)s AND s.name = w.source || '.' || w.name AND s.state = 'done'
) OR NOT EXISTS (
    SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = w.source AND c.relname = w.name
)
