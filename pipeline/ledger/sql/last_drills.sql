-- The newest drill of each database: what did not hold of it, what to do about that, and when one last held.
-- {table} is that of our backups' drills, or that of the drills of what pgBackRest has.
SELECT DISTINCT ON (database)
    database, month, held, grade, recovery_seconds AS seconds, finished_at,
    max(finished_at) FILTER (WHERE held) OVER (PARTITION BY database) AS held_at,
    coalesce(
        report ->> 'error',
        (SELECT string_agg((one ->> 'name') || ': ' || (one ->> 'detail'), '; ')
         FROM jsonb_array_elements((report -> 'assertions') || (report -> 'controls')) AS one
         WHERE one ->> 'held' = 'false')
    ) AS error,
    report ->> 'hint' AS hint
FROM {table}
ORDER BY database, finished_at DESC
