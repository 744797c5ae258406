-- The limits of this session that are shorter than it asked for, and whose session it is. All are in
-- milliseconds; 0 is none. Parameters: the settings, and what was asked for of each.
SELECT session_user::text AS role, known.name, known.setting || known.unit AS imposed, wanted.value AS asked_for
FROM pg_settings AS known
JOIN unnest(%s, %s) AS wanted (name, value) USING (name)
CROSS JOIN LATERAL (
    SELECT CASE known.unit WHEN 'ms' THEN known.setting::bigint END AS has,
           extract(epoch FROM wanted.value::interval) * 1000 AS asked_for
) AS l
WHERE l.has > 0 AND (l.asked_for = 0 OR l.has < l.asked_for)
ORDER BY known.name
