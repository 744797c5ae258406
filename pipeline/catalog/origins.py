"""Origins: of which columns each column of a mart, and each card of a dashboard, is computed, by their SQL.

Only what values are computed of: what joins rows, leaves some out, or orders them is not told. Where the SQL
alone does not tell whose a column is, that is said.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.catalog import plain
from pipeline.catalog.dashboard_files.board import Dashboard
from pipeline.catalog.lineage import DASHBOARD, Lineage
from pipeline.catalog.queries import spelt
from pipeline.catalog.source_files.relations import SCHEMA
from pipeline.catalog.whole import Catalog

if TYPE_CHECKING:
    from sqlglot import exp

# Stands among the columns where there are more, or others, that cannot be told.
UNKNOWN = "? (not known from the SQL alone)"


def of(catalog: Catalog, dashboards: Mapping[str, Dashboard]) -> Lineage:
    """Return what every column of a mart, and every card, is computed of: `mart.staff.people`."""
    lineage: dict[str, Sequence[str]] = {}
    for mart in catalog.marts.values():
        columns = traced(mart.sql)
        if columns is None:
            lineage[f"{SCHEMA}.{mart.name}.*"] = [UNKNOWN]
            continue
        # As the server calls them, where the files tell.
        names = (
            mart.gives if mart.gives and len(mart.gives) == len(columns) else [name for name, _ in columns]
        )
        for name, (_, origins) in zip(names, columns, strict=True):
            lineage[f"{SCHEMA}.{mart.name}.{name.rpartition('.')[2]}"] = origins
    for name, dashboard in dashboards.items():
        cards = {card.title: _card(card.statement()) for card in dashboard.cards if card.sql}
        lineage |= {f"{DASHBOARD} {name}: {title}": origins for title, origins in cards.items()}
        lineage[f"{DASHBOARD} {name}"] = [f"{DASHBOARD} {name}: {title}" for title in cards]
    ahead = [origin for made_of in lineage.values() for origin in made_of]
    while ahead:
        origin = ahead.pop()
        if origin not in lineage:
            lineage[origin] = _behind(lineage, origin)
            ahead += lineage[origin]
    return lineage


def _behind(lineage: Lineage, origin: str) -> Sequence[str]:
    """Return what a column is made of that no SELECT names: one of a source's table of nothing."""
    relation, _, column = origin.rpartition(".")
    if not relation.startswith(f"{SCHEMA}."):
        return ()
    if column == "*":
        return of_relations(lineage, relation) or [UNKNOWN]
    # All columns of one table may be behind a star; of several it cannot be told whose this is.
    stars = lineage.get(f"{relation}.*", ())
    if len(stars) == 1 and stars[0].endswith(".*"):
        return [f"{stars[0].removesuffix('*')}{column}"]
    return [UNKNOWN]


def of_relations(known: Lineage, name: str) -> list[str]:
    """Return the known columns of a table or a mart, in their order; a mart may go without its schema."""
    for whole in (name, f"{SCHEMA}.{name}"):
        if columns := [column for column in known if column.rpartition(".")[0] == whole]:
            return columns
    return []


def _card(text: str) -> list[str]:
    columns = traced(text)
    if columns is None:
        return [UNKNOWN]
    return sorted({origin for _, origins in columns for origin in origins})


def traced(text: str) -> list[tuple[str, list[str]]] | None:
    """Return the columns that a SELECT gives, in order, each with what it is computed of.

    None where the SQL does not tell of any.
    """
    import sqlglot  # noqa: PLC0415 - slow to import
    from sqlglot import exp  # noqa: PLC0415
    from sqlglot.errors import SqlglotError  # noqa: PLC0415
    from sqlglot.optimizer.qualify import qualify  # noqa: PLC0415
    from sqlglot.optimizer.scope import build_scope  # noqa: PLC0415

    # It says there what it does not know; that is told as UNKNOWN instead.
    logging.getLogger("sqlglot").setLevel(logging.CRITICAL)
    try:
        parsed = sqlglot.parse_one(plain.plain(text), dialect="postgres")
        whole = qualify(parsed, dialect="postgres", validate_qualify_columns=False, identify=False)
        columns = list(_named_apart(whole)) if isinstance(whole, exp.Query) else []
        scope = build_scope(whole)
    except (SqlglotError, RecursionError, KeyError):
        return None
    if scope is None or not isinstance(whole, exp.Query):
        return None
    return [(name, _origins(column, whole, scope)) for name, column in columns]


def _named_apart(whole: "exp.Query") -> Iterator[tuple[str, str]]:
    """Give each column of a query a name of its own; yield what it was called, and that name."""
    from sqlglot import exp  # noqa: PLC0415 - as above

    for number, each in enumerate(whole.selects):
        name = each.alias_or_name
        if isinstance(each, exp.Alias):
            # Two columns of one name are two, and sqlglot goes by names.
            each.set("alias", exp.to_identifier(f"column {number} of {name}", quoted=True))
        yield name, each.alias_or_name


def _origins(column: str, whole: "exp.Query", scope: Any) -> list[str]:
    from sqlglot import exp  # noqa: PLC0415 - as above
    from sqlglot.errors import SqlglotError  # noqa: PLC0415
    from sqlglot.lineage import lineage  # noqa: PLC0415

    try:
        wanted = exp.column(exp.to_identifier(column, quoted=True))
        node = lineage(wanted, whole, schema={}, dialect="postgres", scope=scope)
        return sorted(set(_leaves(node)))
    except (SqlglotError, RecursionError, KeyError):
        return [UNKNOWN]


def _leaves(node: Any) -> Iterator[str]:
    from sqlglot import exp  # noqa: PLC0415 - as above

    for each in node.walk():
        if each.downstream:
            continue
        if isinstance(each.source, exp.Table) and each.source.alias_column_names:
            # FROM hr.employee AS e(number, name): sqlglot takes these names for the table's own.
            yield UNKNOWN
        elif isinstance(each.source, exp.Table) and each.source.args.get("db"):
            name = exp.to_column(each.name, dialect="postgres") if each.name != "*" else None
            column = spelt(name.this) if name is not None else "*"
            # By the name of its table: the whole row.
            column = "*" if column == each.source.alias_or_name else column
            yield f"{spelt(each.source.args['db'])}.{spelt(each.source.this)}.{column}"
        elif not isinstance(each.source, exp.Query) or not _is_of_nothing(each.expression):
            yield UNKNOWN


def _is_of_nothing(expression: "exp.Expression") -> bool:
    """Whether it has no column in it, such as a number, or how many rows there are."""
    from sqlglot import exp  # noqa: PLC0415 - as above

    if expression.find(exp.Column, exp.Subquery):
        return False
    return all(isinstance(star.parent, exp.Count) for star in expression.find_all(exp.Star))
