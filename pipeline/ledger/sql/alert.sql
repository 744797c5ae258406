-- An alert as it was told; sent_at is null while it could not be sent.
INSERT INTO ops.alert (id, key, kind, summary, error, run, host, since, told_at, sent_at, command, task_url, log_url)
VALUES (%(id)s, %(key)s, %(kind)s, %(summary)s, %(error)s, %(run)s, %(host)s, %(since)s, %(at)s, %(sent_at)s,
        %(command)s, %(task_url)s, %(log_url)s)
ON CONFLICT (id) DO UPDATE SET sent_at = coalesce(ops.alert.sent_at, excluded.sent_at)
