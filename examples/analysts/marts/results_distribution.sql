-- How final marks are spread: for each year, how many results lie in each band of ten marks.
-- columns:
--   share: {range: {min: 0, max: 1}}
-- checks:
--   - unique: [year, band]
--   - sql: select year from {table} group by year having sum(results) = 0
WITH marked AS (
    SELECT extract(year FROM x.held_on)::int AS year, least(floor(r.mark / 10) * 10, 90)::int AS band
    FROM records.exam_result AS r
    JOIN records.exam_sitting AS x ON x.id = r.sitting_id
    WHERE r.state = 'final' AND r.mark IS NOT NULL
)
SELECT
    year,
    band,
    band || ' to ' || band + 9 AS marks,
    count(*) AS results,
    round(count(*) / sum(count(*)) OVER (PARTITION BY year), 3) AS share
FROM marked
GROUP BY year, band
