-- What the last runs of each name took, in seconds: loads of everything that were done at once, and backups.
-- Parameters: count (so many of each).
WITH ended AS (
    SELECT name, attempted_at AS began, extract(epoch FROM finished_at - attempted_at)::float8 AS seconds
    FROM ops.run WHERE state = 'done' AND finished_at IS NOT NULL AND attempts = 1 AND scope = '{}'
    UNION ALL
    SELECT 'backup ' || database, taken_at, seconds FROM ops.backup
),
counted AS (
    SELECT name, seconds, row_number() OVER (PARTITION BY name ORDER BY began DESC) AS number FROM ended
)
SELECT name, array_agg(seconds ORDER BY number) AS seconds FROM counted WHERE number <= %(count)s GROUP BY name
