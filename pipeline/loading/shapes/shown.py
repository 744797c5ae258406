"""Shown: which columns of a relation show what is masked elsewhere, by what the source's server itself knows.

A generated column, a view, a view on a view, a partition: each may show in clear what a mask hides beside it.
The server keeps what each was made of (pg_depend), and of each column of a view where it comes from.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline import postgres
from pipeline.catalog import Table
from pipeline.postgres import Connection
from pipeline.warehouse.definitions import COMPOSITE
from pipeline.warehouse.shape import Column, Shape

# What the declaration says of a column that somebody has looked at.
REVIEWED = "reviewed"
_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)
_ORIGIN = re.compile(r" :resno (\d+) .*:resorigtbl (\d+) :resorigcol (-?\d+) :resjunk (\w+)\}", re.DOTALL)
# A whole row stands in a query: of that, the server keeps no columns.
_WHOLE_ROW = ":varattno 0 "


@dataclass(frozen=True)
class Target:
    """One column of a view, by its number: the relation and the column it is taken from, 0 if computed."""

    number: int
    relation: int
    column: int


def shown(source: Connection, wanted: Shape, table: Table) -> list[tuple[Column, str]]:
    """Return the columns that would be loaded in clear, and what each shows that is masked.

    `wanted` has the relation's masks. A column that is declared as reviewed is not among them.
    """
    declared = [*table.source_masks, *_own(wanted, table)]
    if not any(mask != REVIEWED for _, _, _, mask in declared):
        return []
    graph = _Graph(source, wanted.oid, declared)
    hidden = graph.hidden(wanted.oid)
    result = []
    # What the table is filtered by tells of itself, also where it stays in the source.
    filters = [column for column in wanted.excluded if table.where and column.name in table.where.columns]
    for column in (*wanted.columns, *filters):
        if column.mask or column.reviewed:
            continue
        of = hidden.get(column.attnum) or tuple(_within(column, declared))
        if of:
            result.append((column, ", ".join(of)))
    return result


def _own(wanted: Shape, table: Table) -> Iterator[tuple[str, str, str, str]]:
    """Yield the relation's own masks, also those that it has for what it was before."""
    for column in wanted.every_column:
        if column.mask:
            yield table.schema_name, table.relation, column.name, column.mask


def _within(column: Column, declared: Sequence[tuple[str, str, str, str]]) -> Iterator[str]:
    """Yield what is masked in the tables whose rows are in a column as a whole."""
    for part in column.full_type.parts():
        if part.kind == COMPOSITE and part.row_of_table:
            for schema, relation, name, mask in declared:
                if (schema, relation) == (part.schema, part.name) and mask != REVIEWED:
                    yield f"{schema}.{relation}.{name}"


class _Graph:
    """A relation with all that it reads."""

    def __init__(self, source: Connection, oid: int, declared: Sequence[tuple[str, str, str, str]]) -> None:
        schemas, relations, columns, masks = (list(part) for part in zip(*declared, strict=True))
        parameters = {
            "relation": oid,
            "schemas": schemas,
            "relations": relations,
            "columns": columns,
            "masks": masks,
        }
        nodes = postgres.records(source, postgres.statement("loading/shown"), parameters)
        self._nodes: Mapping[tuple[bool, int], Any] = {
            (node["is_function"], node["oid"]): node for node in nodes
        }
        self._known: dict[int, dict[int, tuple[str, ...]]] = {}

    def hidden(self, oid: int) -> Mapping[int, tuple[str, ...]]:
        """Return the columns of a relation that show what is masked, and what that is."""
        node = self._nodes.get((False, oid))
        if node is None:
            return {}
        if oid not in self._known:
            self._known[oid] = {}
            self._known[oid] = self._looked_at(node)
        return self._known[oid]

    def _looked_at(self, node: Mapping[str, Any]) -> dict[int, tuple[str, ...]]:
        names = dict(node["columns"])
        shown_by = {} if node["rule"] is None else self._of_view(node, names)
        masks: dict[int, set[str]] = {}
        for number, mask in node["declared"]:
            masks.setdefault(number, set()).add(mask)
        for number, how in masks.items():
            # Where one table reviewed a column and another masks it, it is masked.
            shown_by.pop(number, None)
            if how != {REVIEWED}:
                shown_by[number] = (f"{node['name']}.{names[number]}",)
        grown = True
        while grown:
            further = {
                made: shown_by[of]
                for made, of in node["generated"]
                if of in shown_by and made not in shown_by and masks.get(made) != {REVIEWED}
            }
            shown_by |= further
            grown = bool(further)
        return shown_by

    def _of_view(self, node: Mapping[str, Any], names: Mapping[int, str]) -> dict[int, tuple[str, ...]]:
        computed = tuple(dict.fromkeys(self._read(node, whole=_WHOLE_ROW in node["rule"], seen=set())))
        taken = {target.number: target for target in targets(node["rule"])}
        origins: dict[int, tuple[str, ...]] = {}
        for number in names:
            target = taken.get(number)
            of = computed
            if target is not None and target.relation and target.column > 0:
                of = self.hidden(target.relation).get(target.column, ())
            if of:
                origins[number] = of
        return origins

    def _read(self, node: Mapping[str, Any], *, whole: bool, seen: set[int]) -> Iterator[str]:
        """Yield what is masked of all that a view or a function reads."""
        for oid, number, is_function in node["reads"]:
            if not is_function:
                for column, of in self.hidden(oid).items():
                    if whole or number == column or (number == 0 and node["is_function"]):
                        yield from of
                continue
            called = self._nodes.get((True, oid))
            if called is None or oid in seen:
                continue
            seen.add(oid)
            if called["opaque"]:
                yield f"what function {called['name']} reads, which cannot be determined"
            else:
                yield from self._read(called, whole=False, seen=seen)


def targets(rule: str) -> list[Target]:
    """Return the columns of a view by the server's own form of its query (pg_rewrite.ev_action).

    >>> targets(r"({QUERY :targetList ({TARGETENTRY :expr {VAR :varno 1} :resno 1 :resname a\\} "
    ...         r":ressortgroupref 0 :resorigtbl 16385 :resorigcol 2 :resjunk false})})")
    [Target(number=1, relation=16385, column=2)]
    """
    columns, depth, start = [], 0, 0
    for brace in _BRACES.finditer(rule):
        if brace[0] == "{":
            depth += 1
            if depth == 2:  # noqa: PLR2004 - within the query itself, and in no query of that
                start = brace.start()
        elif brace[0] == "}":
            if depth == 2 and rule.startswith("{TARGETENTRY", start):  # noqa: PLR2004
                # The last one: an expression may have queries of its own in it.
                origin = _ORIGIN.match(rule, rule.rindex(" :resno ", start, brace.end()), brace.end())
                if origin and origin[4] == "false":
                    columns.append(Target(int(origin[1]), int(origin[2]), int(origin[3])))
            depth -= 1
    return columns
