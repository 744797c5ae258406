-- How the server's own archiving of WAL fares, for a point-in-time recovery; no row where it archives nothing.
SELECT
    a.last_archived_time AS archived_at,
    a.last_failed_time AS failed_at,
    -- Without either it tries nothing, fails at nothing, and keeps all WAL. archive_library is of PostgreSQL 15.
    current_setting('archive_command') <> '' OR coalesce(current_setting('archive_library', true), '') <> ''
        AS has_means
FROM pg_stat_archiver AS a
-- A standby archives only what it is told to archive always.
WHERE current_setting('archive_mode') = CASE WHEN pg_is_in_recovery() THEN 'always' ELSE 'on' END
   OR current_setting('archive_mode') = 'always'
