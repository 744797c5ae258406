-- The newest drill of each database, and when one last held.
SELECT DISTINCT ON (database)
    database, month, grade, held, finished_at,
    max(finished_at) FILTER (WHERE held) OVER (PARTITION BY database) AS held_at
FROM ops.drill
ORDER BY database, finished_at DESC
