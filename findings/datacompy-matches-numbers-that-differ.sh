#!/usr/bin/env bash
# datacompy 1.1.0, which compares two frames by their keys (is the copy what its source is?), with tolerances of 0 as they
# are unless told: whole numbers and decimals are compared as floating point. So identifiers from 2^53 on that differ in
# their last digits, and amounts that differ by cents, match; matches() is True, and no value is counted as unequal. From
# which size on depends on whether the same rows are in pandas or in polars. A good engineer expects a tolerance of 0 to be
# none: the same numbers as text are told apart.
#
# Seen, of one row with the same key in both: the two values, by pandas and polars -> matches(), values found unequal:
#   int64 1234567890123456789 1234567890123456700 pandas -> True 0, polars -> True 0
#   Decimal 90071992547409.93 90071992547409.92 pandas -> False 1, polars -> True 0
#   Decimal 12345678901234567.01 12345678901234567.99 pandas -> True 0, polars -> True 0
#   str 1234567890123456789 1234567890123456700 pandas -> False 1, polars -> False 1
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf -- "$folder"' EXIT
cd -- "$folder"
python3 -m venv environment
environment/bin/pip install --quiet --disable-pip-version-check \
    datacompy==1.1.0 pandas==3.0.6 polars==1.44.2 numpy==2.4.6 pyarrow==26.0.1
seen=$(environment/bin/python - <<'PYTHON'
from decimal import Decimal

import datacompy
import pandas
import polars

BY = {
    "pandas": (datacompy.PandasCompare, pandas.DataFrame),
    "polars": (datacompy.PolarsCompare, polars.DataFrame),
}


def compared(one, other):
    for name, (compare, frame) in BY.items():
        found = compare(frame({"id": [1], "v": [one]}), frame({"id": [1], "v": [other]}), join_columns="id")
        (unequal,) = (column["unequal_cnt"] for column in found.column_stats if column["column"] == "v")
        yield f"{name} -> {found.matches()} {unequal}"


for one, other in (
    (1234567890123456789, 1234567890123456700),
    (Decimal("90071992547409.93"), Decimal("90071992547409.92")),
    (Decimal("12345678901234567.01"), Decimal("12345678901234567.99")),
    ("1234567890123456789", "1234567890123456700"),
):
    kind = {int: "int64"}.get(type(one), type(one).__name__)
    print(kind, one, other, ", ".join(compared(one, other)))
PYTHON
)
printf '%s\n' "$seen"
[[ $seen == "int64 1234567890123456789 1234567890123456700 pandas -> True 0, polars -> True 0
Decimal 90071992547409.93 90071992547409.92 pandas -> False 1, polars -> True 0
Decimal 12345678901234567.01 12345678901234567.99 pandas -> True 0, polars -> True 0
str 1234567890123456789 1234567890123456700 pandas -> False 1, polars -> False 1" ]]
