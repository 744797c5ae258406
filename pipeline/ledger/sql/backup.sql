-- A verified backup, told to the warehouse.
INSERT INTO ops.backup (
    database, run, taken_at, verified_at, method, size_bytes, database_bytes, tables, rows, seconds, warnings
)
VALUES (
    %(database)s, %(run)s, %(taken_at)s, %(verified_at)s, %(method)s, %(size_bytes)s, %(database_bytes)s,
    %(tables)s, %(rows)s, %(seconds)s, %(warnings)s
)
ON CONFLICT (database, run) DO NOTHING
