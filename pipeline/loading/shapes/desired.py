"""Desired shape: the shape of a table as the catalog wants it loaded, with its key, its masks, its types."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from pipeline.catalog import Changes, DriftAction, DriftKind, Mask, Table
from pipeline.catalog.source_files.personal import suggested_mask
from pipeline.errors import StepError
from pipeline.loading.shapes import filtering, identity, masking
from pipeline.names import RESERVED_COLUMNS, nearest
from pipeline.warehouse.shape import Shape

# Types with the same order on every server; that of text follows a locale.
CURSOR_TYPES = frozenset(
    {
        "smallint",
        "integer",
        "bigint",
        "numeric",
        "real",
        "double precision",
        "date",
        "timestamp without time zone",
        "timestamp with time zone",
        "uuid",
        "bytea",
        "pg_lsn",
        "xid8",
    }
)


def key_of(table: Table, current: Shape, accepted: Shape | None) -> tuple[str, ...]:
    """Return the key as declared, or else the source's own; the one it was loaded by, if drift says so."""
    if table.key:
        return tuple(table.key)
    if accepted and table.drift.get(DriftKind.KEY) == DriftAction.IGNORE:
        return accepted.key
    return current.key


def shape_of(
    table: Table,
    current: Shape,
    accepted: Shape | None,
    others: Sequence[Shape],
    key: tuple[str, ...],
    unlock: Callable[[], str],
) -> Shape:
    """Return the shape as the catalog wants it: with its key, its masks, and what is to stay in the source.

    `unlock` is called where columns are hashed, and tells their key from another.
    """
    columns = []
    for column in masking.masked(table, current, accepted, others):
        declared = table.columns.get(column.name)
        unlisted = table.only is not None and column.name not in (*table.only, *key, table.cursor)
        as_text = bool(declared and declared.type == "text")
        columns.append(replace(column, as_text=as_text, unlisted=unlisted))
    loaded = tuple(column for column in columns if not column.stays)
    excluded = tuple(column for column in columns if column.stays)
    hashes = any(column.mask == Mask.HASH for column in loaded)
    wanted = replace(current, columns=loaded, excluded=excluded, key=key)
    return filtering.filtered(table, replace(wanted, mask_key=unlock() if hashes else ""))


def require_columns(
    table: Table, current: Shape, accepted: Shape | None, key: Sequence[str], target: Sequence[str]
) -> None:
    """Raise StepError if what is declared names a column that is not there, or that cannot serve so."""
    named = [("key", name) for name in key]
    named += [("cursor", table.cursor)] if table.cursor else []
    named += [("where", name) for name in (table.where.columns if table.where else ())]
    named += [(f"{check.kind} check", name) for check in table.checks for name in check.columns]
    named += [("only", name) for name in table.only or () if name not in target]
    missing = [(what, name) for what, name in named if current.column(name) is None]
    renamed = {declared.renamed_from for declared in table.columns.values()}
    if accepted is not None:
        # Drift tells of these, with the line that accepts them.
        renamed |= {old.name for old, new in identity.matched(accepted, current, table) if new is not None}
    for name, declared in table.columns.items():
        # A column that was loaded once may be gone since: drift tells of that. But what was masked may now
        # be there under another name.
        is_expected = name in target and not declared.mask
        if current.column(name) is None and name not in renamed and not is_expected:
            missing.append(("columns", name))
    missing = [(what, name) for what, name in missing if what != "only" or name not in renamed]
    taken = [
        name
        for name in current.names
        if name in RESERVED_COLUMNS and name not in table.columns and name in (table.only or (name,))
    ]
    if taken:
        raise StepError(
            f"the name of its column {', '.join(taken)} is reserved for a column that the warehouse adds",
            hint=f"write 'mask: exclude' under it in {table.file}",
            retryable=False,
        )
    cursor = current.column(table.cursor or "")
    if cursor is not None and re.sub(r"\(.*?\)", "", cursor.domain_of or cursor.type) not in CURSOR_TYPES:
        raise StepError(
            f'its cursor "{cursor.name}" is of type {cursor.type}, which sorts differently on other servers',
            hint=f"use a number or a time, or write 'changes: xmin', under {table.name} in {table.file}",
            retryable=False,
        )
    if missing:
        problems = [f'its {what} {_names(what)} "{name}"' for what, name in missing]
        meant = {near for _, name in missing if (near := nearest(name, current.names))}
        advice = f"; did you mean {', '.join(sorted(meant))}?" if meant else ""
        raise StepError(
            f"{', '.join(problems)}, which the source does not have",
            hint=f"correct {table.file}: the source has {', '.join(current.names)}{advice}",
            retryable=False,
        )


def require_guessed(table: Table, current: Shape) -> None:
    """Raise StepError if a table that nobody described got a column since, which is to be masked."""
    if not table.by_wildcard:
        return
    new = [
        f'"{column.name}"'
        for column in current.columns
        if column.name not in table.columns and suggested_mask(table.relation, column.name, column.type)
    ]
    if new:
        raise StepError(
            f"its columns {', '.join(new)} look personal, and were added after the tables of this run "
            "were listed",
            hint=f"wait for the next run, which masks them, or give {table.name} a line of its own in "
            f"{table.file}",
            retryable=False,
        )


def _names(what: str) -> str:
    return "name" if what == "columns" else "names column"


def require_readable(table: Table, wanted: Shape) -> None:
    """Raise StepError if the source's role may read some columns of the table only, and not all it needs."""
    closed = [column.name for column in wanted.columns if not column.readable and column.mask != Mask.NULL]
    relation = f'"{table.schema_name}"."{table.relation}"'
    file = table.file
    blind = table.changes == Changes.XMIN and wanted.has_xmin and not wanted.xmin_readable
    seeing = f"GRANT SELECT (xmin) ON {relation}, or write 'changes: full' or a cursor under {table.name}"
    if closed:
        listed = ", ".join(f'"{name}"' for name in closed)
        # Whoever excludes them needs that as well, and is told at once.
        alone = f"; without them also {seeing}" if blind else ""
        raise StepError(
            f"the source's role may not read its columns {listed}",
            hint=f"GRANT SELECT ({listed}{', xmin' if blind else ''}) ON {relation}, or write "
            f"'mask: exclude' under each in {file}{alone}",
            retryable=False,
        )
    if blind:
        raise StepError(
            "the source's role may read only some of its columns, so changed rows cannot be found",
            hint=f"{seeing} in {file}",
            retryable=False,
        )
