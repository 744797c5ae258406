-- How many large objects there are, and a checksum of the number and the content of each.
SELECT count(*) AS count,
       coalesce(
           sum(hashtextextended(m.oid || ' ' || encode(sha256(lo_get(m.oid)), 'hex') COLLATE "C", 0)::numeric), 0
       )::text AS checksum
FROM pg_largeobject_metadata AS m
