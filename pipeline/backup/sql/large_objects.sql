-- How many large objects there are, and a checksum of the number and the content of each: of the hash of each of its
-- pieces, for a server has in its memory what it reads at once, and reads no gigabyte. Of one that is shorter than a
-- piece that is the hash of all of it.
SELECT count(*) AS count,
       coalesce(
           sum(hashtextextended(m.oid || ' ' || encode(content.hashes, 'hex') COLLATE "C", 0)::numeric), 0
       )::text AS checksum
FROM pg_largeobject_metadata AS m
CROSS JOIN LATERAL (
    WITH RECURSIVE piece (number, size_bytes, hash) AS (
        SELECT 0::bigint, octet_length(first.data), sha256(first.data)
        FROM (SELECT lo_get(m.oid, 0, %(piece_bytes)s) AS data) AS first
        UNION ALL
        SELECT piece.number + 1, octet_length(next.data), sha256(next.data)
        FROM piece
        CROSS JOIN LATERAL (
            SELECT lo_get(m.oid, (piece.number + 1) * %(piece_bytes)s, %(piece_bytes)s) AS data
        ) AS next
        WHERE piece.size_bytes = %(piece_bytes)s
    )
    SELECT string_agg(hash, '' ORDER BY number) AS hashes FROM piece
) AS content
