#!/usr/bin/env bash
# sqlglot 30.30.0: a table in FROM may give its columns other names, FROM t AS k(a, b), which count by position. Its
# lineage() follows such names through a subquery and a common table expression, and through a table it does not: the
# end of the way is a column of that name of the table, also where the schema that was given has its columns, and the
# table has none of that name, or has another column that is called so.
#
# Seen, with t(id, name), for the column `name`: the SELECT -> name of the leaf, of which table
#   SELECT name FROM (SELECT * FROM t) AS k(name, b) -> t.id of t
#   WITH k(name, b) AS (SELECT * FROM t) SELECT name FROM k -> t.id of t
#   SELECT name FROM t AS k(name, b) -> k.name of t
#   SELECT b AS name FROM t AS k(name, b) -> k.b of t
# PostgreSQL gives t.id in the first three, and t.name in the last.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf -- "$folder"' EXIT
cd -- "$folder"
python3 -m venv environment
environment/bin/pip install --quiet --disable-pip-version-check sqlglot==30.30.0
seen=$(environment/bin/python - <<'PYTHON'
from sqlglot.lineage import lineage

for query in (
    "SELECT name FROM (SELECT * FROM t) AS k(name, b)",
    "WITH k(name, b) AS (SELECT * FROM t) SELECT name FROM k",
    "SELECT name FROM t AS k(name, b)",
    "SELECT b AS name FROM t AS k(name, b)",
):
    way = lineage("name", query, schema={"t": {"id": "int", "name": "text"}}, dialect="postgres")
    print(query, *(f"-> {node.name} of {node.source.name}" for node in way.walk() if not node.downstream))
PYTHON
)
printf '%s\n' "$seen"
[[ $seen == "SELECT name FROM (SELECT * FROM t) AS k(name, b) -> t.id of t
WITH k(name, b) AS (SELECT * FROM t) SELECT name FROM k -> t.id of t
SELECT name FROM t AS k(name, b) -> k.name of t
SELECT b AS name FROM t AS k(name, b) -> k.b of t" ]]
