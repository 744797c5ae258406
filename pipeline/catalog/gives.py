"""What a SELECT gives: the names of its columns, as PostgreSQL would call them, where they can be told."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline.catalog import plain

if TYPE_CHECKING:
    from sqlglot import exp

# Functions that are called in this library as they are on the server, and so name their column.
_NAMED = {"count", "sum", "avg", "min", "max", "coalesce", "round", "lower", "upper"}
# A column that has no name which could be written elsewhere.
UNNAMED = "?column?"
_STAR = ".*"

# The columns of relations by name, as far as they are known: `mart.staff`.
Known = Mapping[str, tuple[str, ...]]


def outputs(root: "exp.Expr") -> tuple[str, ...] | None:
    """Return the columns of a query in order, `mart.staff.*` for all of a relation; None: cannot be told."""
    from sqlglot import exp  # noqa: PLC0415 - slow to import

    if isinstance(root, exp.SetOperation):
        return outputs(root.left)
    if isinstance(root, exp.Subquery):
        return outputs(root.this)
    columns: list[str] = []
    for expression in root.expressions:
        if isinstance(expression, exp.Star):
            relation = _only_relation(root)
            if relation is None:
                return None
            columns.append(relation + _STAR)
        elif isinstance(expression, exp.Column) and isinstance(expression.this, exp.Star):
            return None
        else:
            columns.append(_name(expression))
    return tuple(columns)


def expanded(named: tuple[str, ...] | None, known: Known) -> tuple[str, ...] | None:
    """Return the columns with each star written out, or None where that cannot be told."""
    columns: list[str] = []
    for each in named or ():
        if not each.endswith(_STAR):
            columns.append(each)
        elif (given := known.get(each.removesuffix(_STAR))) is not None:
            columns += given
        else:
            return None
    return None if named is None else tuple(columns)


def _name(expression: "exp.Expr") -> str:
    from sqlglot import exp  # noqa: PLC0415 - as above

    if isinstance(expression, exp.Alias | exp.Column):
        identifier = expression.args["alias"] if isinstance(expression, exp.Alias) else expression.this
        return _spelt(identifier)
    if isinstance(expression, exp.Cast | exp.Paren):
        return _name(expression.this)
    if isinstance(expression, exp.Func):
        name = expression.name if isinstance(expression, exp.Anonymous) else expression.sql_name()
        name = name.removesuffix(plain.SUFFIX)
        return name.lower() if name.lower() in _NAMED or isinstance(expression, exp.Anonymous) else UNNAMED
    return UNNAMED


def _spelt(identifier: "exp.Expr") -> str:
    return str(identifier.name if identifier.args.get("quoted") else identifier.name.lower())


def _only_relation(select: "exp.Expr") -> str | None:
    """Return the one relation that a SELECT reads, with its schema."""
    from sqlglot import exp  # noqa: PLC0415 - as above

    source = select.args.get("from_") or select.args.get("from")
    table = source.this if source else None
    if select.args.get("joins") or not isinstance(table, exp.Table) or not table.args.get("db"):
        return None
    return f"{_spelt(table.args['db'])}.{_spelt(table.this)}"


def inner_names(root: "exp.Expr") -> frozenset[str] | None:
    """Return the names that a query gives to anything within itself: columns, tables, functions' rows.

    None where a function or a list of values in FROM names its columns itself, as generate_series does.
    """
    from sqlglot import exp  # noqa: PLC0415 - as above

    names = {_spelt(alias.args["alias"]) for alias in root.find_all(exp.Alias) if alias.args.get("alias")}
    for alias in root.find_all(exp.TableAlias):
        names |= {_spelt(each) for each in (alias.this, *alias.columns) if isinstance(each, exp.Identifier)}
        names |= {_spelt(each.this) for each in alias.columns if isinstance(each, exp.ColumnDef)}
    for table in root.find_all(exp.Table):
        if isinstance(table.this, exp.Identifier):
            names.add(_spelt(table.this))
        else:
            return None
    unread = any(root.find_all(exp.Lateral, exp.Unnest, exp.Values))
    return None if unread else frozenset(names)
