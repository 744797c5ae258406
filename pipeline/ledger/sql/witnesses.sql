-- Every table of a source that row versions are remembered of, as far as it is still in the files of then: its name in
-- the source by now is looked up there. Parameter: the source's name.
SELECT w.table_name, w.horizon, w.witnesses
FROM ops.watermark w
WHERE w.source = %s AND w.witnesses IS NOT NULL
ORDER BY w.table_name
