-- Ends the session that holds a table's advisory lock and waits for a worker that has been silent for too long.
-- What the server itself is at work on is nobody's silence. Sessions of roles that we may not end are left alone.
-- Parameters: lock (its name), name (of the table, as in the ledger), seconds.
SELECT a.pid, pg_terminate_backend(a.pid)
FROM pg_locks l
JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.pid <> pg_backend_pid()
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND ((l.classid::bigint << 32) | l.objid::bigint) = hashtextextended(%(lock)s, 0)
  AND pg_has_role(a.usesysid, 'MEMBER')
  AND a.xact_start < clock_timestamp() - make_interval(secs => %(seconds)s)
  AND (a.state <> 'active' OR a.wait_event_type = 'Client')
  AND NOT EXISTS (
      SELECT 1 FROM ops.step s
      WHERE s.name = %(name)s AND s.state = 'running'
        AND s.seen_at > clock_timestamp() - make_interval(secs => %(seconds)s)
  )
