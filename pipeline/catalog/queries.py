"""Reads analysts' SQL: that it is exactly one SELECT, and which relations and columns it names."""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.catalog import gives, plain

if TYPE_CHECKING:
    from sqlglot import exp

# What stands for the table in a check, and the name under which it is parsed, and asked.
TABLE = "{table}"
STAND_IN = "pipeline_table"
# Among the columns of a query, where it has a star.
EVERYTHING = "*"

# Functions of the server that a query cannot have, and why; what else writes is found by the server itself.
_REFUSED = (
    (
        r"(query|table|schema|database|cursor)_to_xml\w*|ts_stat|dblink\w*|crosstab\w*|connectby|xpath_table",
        "runs a query that is built at run time; write that query itself",
    ),
    (r"pg_sleep\w*", "only waits; remove it"),
    (
        r"nextval|setval|set_config|pg_notify|lo_\w+|pg_(try_)?advisory\w*|pg_(terminate|cancel)_backend"
        r"|pg_(read|ls|stat|reload|rotate|switch|create|drop|promote|logical|replication)_\w+",
        "changes something, or reads outside the database; a query here may only read",
    ),
)


class QueryError(Exception):
    """The text is not one SELECT. `line` counts from 1 within it."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line
        self.problem = problem


@dataclass(frozen=True)
class Relation:
    """A table or view that a query names; `schema` is empty where the query gives none."""

    schema: str
    name: str
    line: int
    # What the query calls it, where it gives it another name.
    alias: str = ""

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}" if self.schema else self.name


@dataclass(frozen=True)
class Query:
    """One SELECT: the relations it reads, in order, and every column that it names anywhere, of whichever."""

    relations: tuple[Relation, ...]
    columns: frozenset[str]
    # What it gives, `mart.staff.*` for all columns of a relation; None where that cannot be told.
    gives: tuple[str, ...] | None = None
    # Names that it makes itself; None where it has columns whose names cannot be told.
    inner: frozenset[str] | None = None


def parse(text: str) -> Query:
    """Return what a query names. Raise QueryError unless it is one SELECT that changes nothing."""
    from sqlglot import exp  # noqa: PLC0415 - slow to import, and many repositories have no SQL

    root = _root(text)
    if not isinstance(root, exp.Select | exp.SetOperation | exp.Subquery):
        raise QueryError(1, "must be one SELECT (or WITH ... SELECT); write that")
    for forbidden, what in (
        (exp.DML, "changes rows; a query here may only read"),
        (exp.DDL, "changes the database; a query here may only read"),
        (exp.Command, "is more than a SELECT; a query here may only read"),
        (exp.Into, "writes with INTO; remove that, because a query here may only read"),
        (exp.Lock, "locks rows; remove FOR UPDATE or FOR SHARE"),
    ):
        # A SELECT is a part of what can be inserted, and so one of DDL's classes in this library.
        if any(not isinstance(node, exp.Query) for node in root.find_all(forbidden)):
            raise QueryError(1, what)
    require_harmless(root)
    columns = {
        spelt(column.this) for column in root.find_all(exp.Column) if isinstance(column.this, exp.Identifier)
    }
    for join in root.find_all(exp.Join):
        columns |= {spelt(name) for name in join.args.get("using") or () if isinstance(name, exp.Identifier)}
    if any(not isinstance(star.parent, exp.Count) for star in root.find_all(exp.Star)):
        columns.add(EVERYTHING)
    return Query(tuple(_relations(root)), frozenset(columns), gives.outputs(root), gives.inner_names(root))


def expression(text: str) -> "exp.Expression":
    """Return what `text`, a single expression, is made of. Raise QueryError if it is none."""
    from sqlglot import exp  # noqa: PLC0415 - as above

    lines = text.count("\n") + 1
    try:
        root = _root(f"SELECT WHERE (\n{text}\n)", before=1)
    except QueryError as error:
        if error.line > lines:  # at our own bracket
            raise QueryError(lines, "is not a complete condition; write the missing part") from None
        raise
    inner = root.find(exp.Where) if isinstance(root, exp.Select) else None
    if inner is None or not isinstance(inner.this, exp.Paren) or set(_given(root)) != {"where"}:
        raise QueryError(1, "is more than one expression; write one condition, and its brackets in pairs")
    return inner.this.this  # type: ignore[no-any-return]


def _given(root: "exp.Expression | None") -> list[str]:
    return [name for name, part in root.args.items() if part] if root is not None else []


def require_harmless(root: "exp.Expression", *, before: int = 0) -> None:
    """Raise QueryError if a function is called that waits, writes, or runs a query that is a text.

    `before`: how many lines stand before what the analysts wrote.
    """
    from sqlglot import exp  # noqa: PLC0415 - as above

    for function in root.find_all(exp.Func):
        name = function.name if isinstance(function, exp.Anonymous) else function.sql_name()
        for pattern, why in _REFUSED:
            if re.fullmatch(pattern, name.lower()):
                raise QueryError(max(1, function.meta.get("line", 1) - before), f"{name.lower()} {why}")


def parse_check(text: str) -> Query:
    """Return the same of a check's query, in which `{table}` stands for the table and must be read."""
    if TABLE not in text:
        raise QueryError(1, f"does not read the table; write {TABLE} where the table's name belongs")
    query = parse(text.replace(TABLE, STAND_IN))
    others = tuple(relation for relation in query.relations if str(relation) != STAND_IN)
    if len(others) == len(query.relations):
        raise QueryError(1, f"does not read the table; write {TABLE} after FROM or JOIN")
    return Query(others, query.columns)


def _root(text: str, *, before: int = 0) -> "exp.Expression | None":
    """Return the one statement in `text`. `before`: how many of its lines are not the analysts'."""
    import sqlglot  # noqa: PLC0415 - as above
    from sqlglot.errors import ParseError, SqlglotError  # noqa: PLC0415

    # It says there what it does not know; that is told as a problem instead.
    logging.getLogger("sqlglot").setLevel(logging.CRITICAL)
    try:
        parsed = [
            statement for statement in sqlglot.parse(plain.plain(text), dialect="postgres") if statement
        ]
    except ParseError as error:
        details = error.errors[0] if error.errors else {}
        near = str(details.get("highlight") or "").strip()
        where = f" near {near}" if near else ""
        raise QueryError(
            max(1, (details.get("line") or 1) - before), f"is not valid SQL{where}; correct it"
        ) from None
    except (SqlglotError, RecursionError) as error:
        what = "is nested too deeply; simplify it" if isinstance(error, RecursionError) else None
        raise QueryError(1, what or "is not valid SQL: a quotation mark is missing; correct it") from None
    except (TypeError, ValueError, AttributeError, LookupError) as error:
        # A fault of the library's own must not hide what is wrong elsewhere.
        what = f"cannot be parsed: the parser fails ({type(error).__name__}); write it in another way"
        raise QueryError(1, what) from None
    if len(parsed) > 1:
        raise QueryError(1, "must be one SELECT and nothing after it; remove the text after the first ;")
    return parsed[0] if parsed else None  # type: ignore[return-value]


def _relations(root: "exp.Expression") -> Iterator[Relation]:
    from sqlglot import exp  # noqa: PLC0415 - as above

    for table in root.find_all(exp.Table, bfs=False):
        if not isinstance(table.this, exp.Identifier):
            continue  # a function
        schema = ".".join(spelt(part) for part in (table.args.get("catalog"), table.args.get("db")) if part)
        name = spelt(table.this)
        if schema or not _is_common_table(table, name):
            alias = table.args["alias"].this if table.args.get("alias") else None
            line = table.this.meta.get("line", 1)
            yield Relation(schema, name, line, spelt(alias) if alias else "")


def _is_common_table(table: "exp.Expression", name: str) -> bool:
    """Whether a WITH around the table defines its name."""
    around = table.parent
    while around is not None:
        ctes = getattr(around, "ctes", ())
        if any(spelt(cte.args["alias"].this) == name for cte in ctes):
            return True
        around = around.parent
    return False


def spelt(identifier: "exp.Expression") -> str:
    """Return a name as PostgreSQL reads it: in lowercase unless it is quoted."""
    return str(identifier.name if identifier.args.get("quoted") else identifier.name.lower())
