-- The last 30 results of every check, the oldest first; of checks that were looked at within 60 days.
SELECT source || '.' || table_name AS name, check_name AS check, level, passed, observed, run, checked_at AS at
FROM (
    SELECT *, row_number() OVER (
        PARTITION BY source, table_name, check_name ORDER BY checked_at DESC
    ) AS back
    FROM ops.check_result
    WHERE checked_at > now() - interval '60 days'
) AS r
WHERE back <= 30
ORDER BY source, table_name, check_name, checked_at
