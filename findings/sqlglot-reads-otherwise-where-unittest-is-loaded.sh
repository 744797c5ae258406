#!/usr/bin/env bash
# sqlglot 30.30.0: the same valid query is read without complaint in a program, and raises a TypeError where the module
# unittest was imported before sqlglot, as pytest does. What is read without complaint has lost a part: FOR ORDINALITY of
# XMLTABLE, so that what is written again is no SQL that PostgreSQL takes. A test sees neither the loss nor what the
# program sees.
#
# Seen, for SELECT n FROM XMLTABLE('/r/i' PASSING x COLUMNS n FOR ORDINALITY, v int PATH '@v'), dialect postgres:
#   alone: SELECT n FROM XMLTABLE('/r/i' PASSING x COLUMNS n, v INT PATH '@v')
#   unittest imported before: TypeError: Unexpected keyword: 'ordinality'
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf -- "$folder"' EXIT
cd -- "$folder"
python3 -m venv environment
environment/bin/pip install --quiet --disable-pip-version-check sqlglot==30.30.0
cat >look.py <<'PYTHON'
import sqlglot

QUERY = "SELECT n FROM XMLTABLE('/r/i' PASSING x COLUMNS n FOR ORDINALITY, v int PATH '@v')"
try:
    print(sqlglot.parse_one(QUERY, dialect="postgres").sql(dialect="postgres"))
except TypeError as error:
    print(f"TypeError: {str(error).partition(' for ')[0]}")
PYTHON
seen=$(
    printf 'alone: %s\n' "$(environment/bin/python look.py)"
    printf 'unittest imported before: %s\n' "$(environment/bin/python -c 'import unittest, runpy; runpy.run_path("look.py")')"
)
printf '%s\n' "$seen"
[[ $seen == "alone: SELECT n FROM XMLTABLE('/r/i' PASSING x COLUMNS n, v INT PATH '@v')
unittest imported before: TypeError: Unexpected keyword: 'ordinality'" ]]
