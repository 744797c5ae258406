-- What tells the columns that the login of dashboards may read now from any others.
SELECT coalesce(md5(string_agg(concat_ws('.', table_schema, table_name, column_name, data_type), ','
                               ORDER BY table_schema, table_name, column_name)), '')
FROM information_schema.columns
WHERE table_schema NOT IN ('pg_catalog', 'information_schema')
