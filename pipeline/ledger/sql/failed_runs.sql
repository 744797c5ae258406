-- The runs of a name that failed or were killed, the newest attempt first.
-- Parameters: name, since (attempts before that are not looked at).
SELECT run FROM ops.run
WHERE name = %(name)s AND state <> 'done' AND attempted_at >= %(since)s
ORDER BY attempted_at DESC
