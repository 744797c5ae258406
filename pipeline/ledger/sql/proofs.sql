-- What is known of every loaded table: its rows, since when it is loaded, when it was last proved equal, when it was
-- last looked at as a whole, how its last part fared, what its last three looks took on the average, and what the last
-- one has taken that was given up since, and how many there were of those.
SELECT
    w.source || '.' || w.table_name AS name,
    w.rows,
    coalesce(
        (SELECT min(s.accepted_at) FROM ops.table_shape s
         WHERE (s.source, s.table_name) = (w.source, w.table_name)),
        w.loaded_at
    ) AS loaded_since,
    known.proved_at,
    known.looked_at,
    latest.result,
    latest.reason,
    latest.part,
    coalesce(latest.parts, 1) AS parts,
    coalesce(latest.blocks, 0) AS blocks,
    coalesce(latest.storage, '') AS storage,
    latest.after_key AS after,
    spent.rows AS compared,
    spent.seconds,
    stopped.rows AS stopped_rows,
    stopped.seconds AS stopped_seconds,
    coalesce(stopped.times, 0) AS stopped
FROM ops.watermark w
LEFT JOIN LATERAL (
    SELECT
        max(a.audited_at) FILTER (WHERE a.result = 'equal' AND a.part = a.parts) AS proved_at,
        max(a.audited_at) FILTER (WHERE a.part = a.parts) AS looked_at
    FROM ops.audit a WHERE (a.source, a.table_name) = (w.source, w.table_name)
) AS known ON true
LEFT JOIN LATERAL (
    SELECT a.* FROM ops.audit a WHERE (a.source, a.table_name) = (w.source, w.table_name)
    ORDER BY a.id DESC LIMIT 1
) AS latest ON true
LEFT JOIN LATERAL (
    SELECT avg(recent.rows)::bigint AS rows, avg(recent.seconds) AS seconds
    FROM (
        SELECT a.rows, a.seconds FROM ops.audit a
        WHERE (a.source, a.table_name) = (w.source, w.table_name) AND a.result = 'equal'
        ORDER BY a.id DESC LIMIT 3
    ) AS recent
) AS spent ON true
LEFT JOIN ops.audit_stopped stopped ON (stopped.source, stopped.table_name) = (w.source, w.table_name)
ORDER BY 1
