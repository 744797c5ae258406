-- What a server that was recovered from an archive is, and how far it got: where, and at which transaction's moment.
SELECT c.system_identifier::text AS system_identifier,
       coalesce(pg_last_wal_replay_lsn(), '0/0')::text AS lsn,
       pg_wal_lsn_diff(coalesce(pg_last_wal_replay_lsn(), '0/0'), '0/0')::bigint AS position,
       pg_last_xact_replay_timestamp() AS recovered_to,
       pg_size_bytes(current_setting('wal_segment_size')) AS segment_bytes
FROM pg_control_system() AS c
