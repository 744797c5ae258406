-- The other databases of this server that can be backed up. Left out are templates, what lets nobody in, the one that
-- is there to connect to, and those that belong to whoever runs the server in a cloud.
SELECT d.datname::text
FROM pg_database AS d
WHERE d.datallowconn AND NOT d.datistemplate
  AND d.datname <> ALL (ARRAY[
      current_database(), 'postgres', 'rdsadmin', 'azure_maintenance', 'azure_sys', 'cloudsqladmin'])
ORDER BY 1
