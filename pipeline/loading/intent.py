"""Intent: the shape of a table as the catalog wants it loaded, with its key, its masks, its types."""

import re
from collections.abc import Sequence
from dataclasses import replace

from pipeline.catalog import Table
from pipeline.errors import StepError
from pipeline.loading import drift
from pipeline.loading.shape import Column, Shape
from pipeline.names import RESERVED_COLUMNS, nearest

# Types with the same order on every server; that of text follows a locale.
CURSOR_TYPES = frozenset({
    "smallint", "integer", "bigint", "numeric", "real", "double precision", "date",
    "timestamp without time zone", "timestamp with time zone", "uuid", "bytea", "pg_lsn", "xid8",
})  # fmt: skip


def key_of(table: Table, current: Shape, accepted: Shape | None) -> tuple[str, ...]:
    """Return the key as declared, or else the source's own; the one it was loaded by, if drift says so."""
    if table.key:
        return tuple(table.key)
    if accepted and table.drift.get("key") == drift.IGNORE:
        return accepted.key
    return current.key


def shape_of(
    table: Table, current: Shape, accepted: Shape | None, key: tuple[str, ...], mask_key: str
) -> Shape:
    """Return the shape as the catalog wants it: with its key, without excluded columns, with masks."""
    columns = []
    for column in current.columns:
        declared, masked = table.columns.get(column.name), _mask(table, column, current, accepted)
        if masked != "exclude":
            as_text = bool(declared and declared.type == "text")
            columns.append(replace(column, mask=masked, as_text=as_text))
    hashes = any(column.mask == "hash" for column in columns)
    return replace(current, columns=tuple(columns), key=key, mask_key=mask_key if hashes else "")


def _mask(table: Table, column: Column, current: Shape, accepted: Shape | None) -> str | None:
    """Return how a column is masked: as declared or, under a new name, as it was under the old one."""
    declared = table.columns.get(column.name)
    if declared and declared.mask:
        return declared.mask
    before = declared.renamed_from if declared else None
    if before is None and accepted is not None and accepted.oid == current.oid:
        old = next((known for known in accepted.columns if known.attnum == column.attnum), None)
        before = old.name if old is not None and current.column(old.name) is None else None
    if before is None:
        return None
    if (meant := table.columns.get(before)) and meant.mask:
        return meant.mask
    known_before = accepted.column(before) if accepted else None
    return known_before.mask if known_before else None


def require_columns(table: Table, current: Shape, key: Sequence[str], target: Sequence[str]) -> None:
    """Raise StepError if what is declared names a column that is not there, or that cannot serve so."""
    named = [("key", name) for name in key]
    named += [("cursor", table.cursor)] if table.cursor else []
    named += [(f"{check.kind} check", name) for check in table.checks for name in check.named]
    missing = [(what, name) for what, name in named if current.column(name) is None]
    renamed = {declared.renamed_from for declared in table.columns.values()}
    for name, declared in table.columns.items():
        # A column that was loaded once may be gone since: drift tells of that. But what was masked may now
        # be there under another name.
        gone_well = name in target and not declared.mask
        if current.column(name) is None and name not in renamed and not gone_well:
            missing.append(("columns", name))
    taken = [name for name in current.names if name in RESERVED_COLUMNS and name not in table.columns]
    if taken:
        raise StepError(
            f"the name of its column {', '.join(taken)} is taken by one that the warehouse adds; write "
            f"'mask: exclude' under it in sources/{table.source}.yaml"
        )
    cursor = current.column(table.cursor or "")
    if cursor is not None and re.sub(r"\(.*?\)", "", cursor.domain_of or cursor.type) not in CURSOR_TYPES:
        raise StepError(
            f'its cursor "{cursor.name}" is of type {cursor.type}, whose order is not the same on every '
            f"server; write a number or a time, or 'changes: xmin', under {table.name} in "
            f"sources/{table.source}.yaml"
        )
    if missing:
        told = [f'its {what} {_names(what)} "{name}"' for what, name in missing]
        meant = {near for _, name in missing if (near := nearest(name, current.names))}
        advice = f"did you mean {', '.join(sorted(meant))}? " if meant else ""
        raise StepError(
            f"{', '.join(told)}, which the source does not have; {advice}correct "
            f"sources/{table.source}.yaml (the source has {', '.join(current.names)})"
        )


def _names(what: str) -> str:
    return "name" if what == "columns" else "names column"
