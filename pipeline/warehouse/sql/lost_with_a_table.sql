-- What people hung on a table of the warehouse that cannot be carried over to a new one.
-- Parameters: schema, name.
WITH t AS (
    SELECT c.* FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %s AND c.relname = %s
)
SELECT format('row security policy "%%s"', p.polname) FROM t JOIN pg_policy p ON p.polrelid = t.oid
UNION ALL
SELECT 'its row security' FROM t WHERE t.relrowsecurity OR t.relforcerowsecurity
UNION ALL
SELECT format('trigger "%%s"', g.tgname) FROM t JOIN pg_trigger g ON g.tgrelid = t.oid WHERE NOT g.tgisinternal
UNION ALL
SELECT format('rule "%%s"', r.rulename) FROM t JOIN pg_rewrite r ON r.ev_class = t.oid WHERE r.rulename <> '_RETURN'
UNION ALL
SELECT format('constraint "%%s"', k.conname)
FROM t JOIN pg_constraint k ON k.conrelid = t.oid WHERE k.contype IN ('c', 'f', 'u', 'x')
UNION ALL
SELECT format('constraint "%%s" of %%s', k.conname, k.conrelid::regclass)
FROM t JOIN pg_constraint k ON k.confrelid = t.oid
UNION ALL
SELECT format('its place in publication "%%s"', u.pubname)
FROM t JOIN pg_publication_rel p ON p.prrelid = t.oid JOIN pg_publication u ON u.oid = p.prpubid
UNION ALL
SELECT format('extended statistics "%%s"', s.stxname) FROM t JOIN pg_statistic_ext s ON s.stxrelid = t.oid
UNION ALL
-- A query of a parent gives the rows of its children, too.
SELECT format('its inheritance from %%s', i.inhparent::regclass) FROM t JOIN pg_inherits i ON i.inhrelid = t.oid
UNION ALL
SELECT format('the inheritance of %%s from it', i.inhrelid::regclass) FROM t JOIN pg_inherits i ON i.inhparent = t.oid
