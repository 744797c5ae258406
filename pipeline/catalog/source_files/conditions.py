"""Conditions: the text after `where:`, which says of each row of a table whether it is loaded.

It may look at that row alone. What is taken into its query is the analysts' own text, so nothing is let
through in which the server could read something else than the parser does.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from pipeline.catalog import queries
from pipeline.catalog.queries import QueryError

if TYPE_CHECKING:
    from sqlglot import exp

# What may be written in more than one way, or would end the condition, by how it is told.
_UNCLEAR = (
    (r"--|/\*", "has a comment; write it as a comment of YAML (#), outside the condition"),
    (r";", "has a ;, but a condition is one expression; remove it"),
    (r"\$", "has a $; write text in single quotes"),
    (
        r"(?i)(?<![a-z0-9_])(e|u&|n)'|(?<![a-z0-9_])u&\"",
        "has a character before the quotes of a text; write '...'",
    ),
    (r"(?i)\boperator\s*\(", "names an operator by its schema; write the operator alone"),
    (r"\?", "has a ?; write a condition without it"),
)
# Words of text that is a time, which is another one every day.
_MOVING = re.compile(r"(?i)\b(now|today|tomorrow|yesterday)\b")
# What makes values up. Whatever else the server calls volatile, it says itself.
_RANDOM = r"random\w*|gen_random_uuid|uuid\w*"
# Times of day that go on within a transaction. The server calls the first stable: it is, within a query.
_CLOCKS = frozenset({"statement_timestamp", "clock_timestamp", "timeofday"})
# What PostgreSQL takes for a function of its own and not for a column, unless it is in double quotes.
_WORDS = frozenset(
    {
        "user",
        "session_user",
        "current_user",
        "current_role",
        "current_catalog",
        "current_schema",
        "system_user",
    }
)
_STRINGS = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")
# A function's name before its bracket, in double quotes or not. Texts and other names are passed over.
_CALL = re.compile(rf"""(?i)"((?:[^"]|"")+)"\s*\(|{_STRINGS.pattern}|(?<!\w)([a-z_]\w*)\s*\(""")


class Condition(BaseModel):
    """Which rows are loaded. `columns` are those that it looks at, `functions` what it may call.

    `steady`: whether a row that nobody writes cannot begin or cease to meet it, as it could by the date.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    text: str
    columns: tuple[str, ...]
    functions: tuple[str, ...] = ()
    steady: bool = False
    # Where it stands. Whether something is declared otherwise does not depend on it.
    line: int = Field(default=1, exclude=True)


def parse(text: str) -> Condition:
    """Return what a condition says. Raise QueryError unless it looks at nothing but columns of its row."""
    from sqlglot import exp  # noqa: PLC0415 - slow to import, and many repositories have no SQL

    text = text.strip()
    bare = _STRINGS.sub("''", text)
    for pattern, what in _UNCLEAR:
        if match := re.search(pattern, bare):
            raise QueryError(bare.count("\n", 0, match.start()) + 1, what)
    root = queries.expression(text)
    for unwanted, what in (
        (exp.Query, "reads another table; only the columns of the row itself are available"),
        (exp.Table, "reads another table; only the columns of the row itself are available"),
        (exp.Star, "has a *; name the columns"),
        (exp.Dot, "has a name with a dot; write a column, or a function of PostgreSQL's own, without one"),
        (exp.Window, "reads more than one row; only the row itself is available"),
        (exp.AggFunc, "reads more than one row; only the row itself is available"),
        (exp.Command, "is more than a condition; write a condition for the rows to load"),
        (exp.Placeholder, "has a placeholder; write the value"),
        (exp.Parameter, "has a placeholder; write the value"),
    ):
        if root.find(unwanted):
            raise QueryError(1, what)
    columns = list(root.find_all(exp.Column))
    for column in columns:
        if column.args.get("table"):
            raise QueryError(1, f"{column.sql('postgres')}: has a dot; write the column's name alone")
        if not column.this.args.get("quoted") and column.name.lower() in _WORDS:
            raise QueryError(
                1, f'{column.name} is the current role; write "{column.name}" for a column of that name'
            )
    for cast in root.find_all(exp.DataType):
        if cast.this == exp.DataType.Type.USERDEFINED:
            raise QueryError(1, f"casts to {cast.sql('postgres')}; write a type of PostgreSQL's own")
    functions = sorted(_called(text, root))
    _require_certain(functions)
    queries.require_harmless(root, before=1)
    if not columns:
        raise QueryError(1, "names no column; write a condition for the rows to load")
    named = dict.fromkeys(queries.spelt(column.this) for column in columns)
    return Condition(text=text, columns=tuple(named), functions=tuple(functions), steady=_is_steady(root))


def _require_certain(functions: Sequence[str]) -> None:
    """Raise QueryError if one of these gives another value in each query, or for each row."""
    for name in functions:
        if name in _CLOCKS:
            what = "it differs between the queries of one snapshot"
            raise QueryError(1, f"{name} is not repeatable: {what}; write now()")
        if re.fullmatch(_RANDOM, name):
            raise QueryError(
                1, f"{name} is not repeatable: it would be left to chance which rows are loaded; remove it"
            )


def _called(text: str, root: "exp.Expression") -> set[str]:
    """Return what a condition calls, as the server looks it up: by how it is written, and by the parser too.

    The parser has names of its own for what it knows. What only it finds is told as well.
    """
    from sqlglot import exp  # noqa: PLC0415 - as above

    written = {quoted.replace('""', '"') or plain.lower() for quoted, plain in _CALL.findall(text)}
    return (written | {str(call.name) for call in root.find_all(exp.Anonymous)}) - {""}


def _is_steady(root: "exp.Expression") -> bool:
    """Whether it does nothing but compare: any function or cast may depend on the day, or on a setting."""
    from sqlglot import exp  # noqa: PLC0415 - as above

    plain = (
        exp.And,
        exp.Or,
        exp.Not,
        exp.Paren,
        exp.Tuple,
        exp.Column,
        exp.Identifier,
        exp.Literal,
        exp.Boolean,
        exp.Null,
        exp.EQ,
        exp.NEQ,
        exp.GT,
        exp.GTE,
        exp.LT,
        exp.LTE,
        exp.In,
        exp.Between,
        exp.Is,
        exp.Like,
        exp.ILike,
        exp.NullSafeEQ,
        exp.NullSafeNEQ,
        exp.Add,
        exp.Sub,
        exp.Mul,
        exp.Mod,
        exp.Neg,
        exp.RegexpLike,
    )
    for node in root.walk():
        if type(node) not in plain:
            return False
        if isinstance(node, exp.Literal) and node.is_string and _MOVING.search(str(node.this)):
            return False
    return True
