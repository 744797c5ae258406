-- How many large objects there are, and a checksum of the number and the content of each: of the hash of each of its
-- pieces, for a server has in its memory what it reads at once, and reads no gigabyte. Of one that is shorter than a
-- piece that is the hash of all of it.
WITH RECURSIVE piece (oid, number, size_bytes, hash) AS (
    SELECT first.oid, 0::bigint, octet_length(first.data), sha256(first.data)
    FROM (
        SELECT m.oid, lo_get(m.oid, 0, %(piece_bytes)s) AS data
        FROM pg_largeobject_metadata AS m
    ) AS first
    UNION ALL
    SELECT next.oid, next.number, octet_length(next.data), sha256(next.data)
    FROM (
        SELECT p.oid, p.number + 1 AS number, lo_get(p.oid, (p.number + 1) * %(piece_bytes)s, %(piece_bytes)s) AS data
        FROM piece AS p
        WHERE p.size_bytes = %(piece_bytes)s
    ) AS next
)
SELECT count(*) AS count,
       coalesce(
           sum(hashtextextended(content.oid || ' ' || encode(content.hashes, 'hex') COLLATE "C", 0)::numeric), 0
       )::text AS checksum
FROM (
    SELECT oid, string_agg(hash, '' ORDER BY number) AS hashes
    FROM piece
    GROUP BY oid
) AS content
