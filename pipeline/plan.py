"""Plan: what of a table is to be read, in which shape, and why. Looks at everything and changes nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from psycopg2 import sql

from pipeline import drift, ledger, mask, shape, staging
from pipeline.catalog import Table
from pipeline.drift import Change
from pipeline.errors import StepError
from pipeline.ledger import Watermark
from pipeline.postgres import Composable, Connection
from pipeline.shape import Column, Shape
from pipeline.snapshot import Snapshot
from pipeline.staging import Staged

# first: the table is new in the warehouse. full: all rows, merged into it. rebuild: all rows, into a new
# table that takes its place. increment: what changed.
FIRST, FULL, REBUILD, INCREMENT = "first", "full", "rebuild", "increment"
# Transaction ids go round in 32 bits in the rows themselves: half of the circle is behind, half ahead.
HALF_CIRCLE = 2**31
TIME_TYPES = ("timestamp", "date")


@dataclass(frozen=True)
class Plan:
    """What an extraction will read, and why. `shape` has what is loaded, masks and all."""

    table: Table
    mode: str
    reason: str
    shape: Shape
    key: tuple[str, ...]
    changes: tuple[Change, ...]
    since: Watermark | None
    relation: sql.Identifier

    @property
    def into_new_table(self) -> bool:
        """Whether the staged table becomes the final one."""
        return self.mode in (FIRST, REBUILD)

    @property
    def columns(self) -> tuple[Column, ...]:
        return self.shape.columns

    @property
    def timed_cursor(self) -> bool:
        """Whether the cursor is a moment, so that a lookback means something."""
        cursor = self.shape.column(self.table.cursor or "")
        return cursor is not None and cursor.type.startswith(TIME_TYPES)

    def selection(self, columns: Sequence[Column]) -> Composable:
        """Return the query that reads these columns of what is to be read."""
        expressions = sql.SQL(", ").join(map(expression, columns))
        return sql.SQL("SELECT {} FROM {}").format(expressions, self.relation)

    def condition(self) -> Composable:
        """Return the WHERE of an increment, with a space before it; nothing for all rows."""
        if self.mode != INCREMENT or self.since is None:
            return sql.SQL("")
        if self.table.changes == "xmin":
            return sql.SQL(
                " WHERE ((xmin::text::bigint - {} + 4294967296) % 4294967296) < 2147483648"
            ).format(sql.Literal(self.since.horizon % 2**32))
        return self._cursor_condition(self.since)

    def _cursor_condition(self, since: Watermark) -> Composable:
        cursor = self.shape.column(self.table.cursor or "")
        assert cursor is not None  # noqa: S101 - make() saw to it
        lookback: Composable = sql.SQL("")
        if self.timed_cursor:
            seconds = f"{self.table.lookback.total_seconds()} seconds"
            lookback = sql.SQL(" - {}::interval").format(sql.Literal(seconds))
        # A row whose cursor is empty is read every time.
        return sql.SQL(" WHERE {cursor} IS NULL OR {cursor} >= {value}::{type}{lookback}").format(
            cursor=sql.Identifier(cursor.name),
            value=sql.Literal(since.cursor_value),
            type=sql.SQL(cursor.type),
            lookback=lookback,
        )


def expression(column: Column) -> Composable:
    """Return what the source is asked for to get a column as it is loaded."""
    name = sql.Identifier(column.name)
    if column.mask == "hash":
        return mask.hashed(name)
    if column.mask == "null":
        return mask.empty(sql.SQL(column.type))
    return name


def make(warehouse: Connection, source: Connection, table: Table, taken: Snapshot) -> Plan:
    """Return what is to be read of a table.

    Raise StepError if the source has no such table, or not the columns that the catalog names.
    """
    found = ledger.accepted_shape(warehouse, table.source, table.name)
    accepted = Shape.from_json(found) if found else None
    current = shape.read(source, table.schema_name, table.relation)
    key = _key(table, current, accepted)
    _require_columns(table, current, accepted, key)
    wanted = _declared(table, current)
    changes = drift.compare(accepted, wanted, table)
    ignored = {
        change.column
        for change in changes
        if change.kind.startswith("added") and change.action == drift.IGNORE
    }
    wanted = replace(wanted, columns=tuple(column for column in wanted.columns if column.name not in ignored))
    since = ledger.watermark(warehouse, table.source, table.name)
    exists = staging.oid(warehouse, Staged(table, "").target) is not None
    mode, reason = FIRST, "never loaded before"
    if exists:
        mode, reason = _mode(table, wanted, key, changes, since, taken)
    relation = sql.Identifier(table.schema_name, table.relation)
    return Plan(table, mode, reason, wanted, key, changes, since, relation)


def _key(table: Table, current: Shape, accepted: Shape | None) -> tuple[str, ...]:
    if table.key:
        return tuple(table.key)
    if accepted and table.drift.get("key") == drift.IGNORE:
        return accepted.key
    return current.key


def _declared(table: Table, current: Shape) -> Shape:
    """Return the shape as the catalog wants it: without excluded columns, with masks."""
    columns = []
    for column in current.columns:
        declared = table.columns.get(column.name)
        if declared and declared.mask == "exclude":
            continue
        columns.append(replace(column, mask=declared.mask) if declared and declared.mask else column)
    return replace(current, columns=tuple(columns), key=current.key)


def _require_columns(table: Table, current: Shape, accepted: Shape | None, key: Sequence[str]) -> None:
    named = [("key", name) for name in key]
    named += [("cursor", table.cursor)] if table.cursor else []
    # A column that was loaded once may be gone since: drift tells of that.
    known = set(current.names) | set(accepted.names if accepted else ())
    missing = [f'its {what} names column "{name}"' for what, name in named if current.column(name) is None]
    missing += [f'its columns name "{name}"' for name in table.columns if name not in known]
    if missing:
        raise StepError(
            f"{', '.join(missing)}, which the source does not have; correct sources/{table.source}.yaml "
            f"(the source has {', '.join(current.names)})"
        )


def _mode(
    table: Table, wanted: Shape, key: Sequence[str], changes: Sequence[Change], since: Watermark | None,
    taken: Snapshot,
) -> tuple[str, str]:  # fmt: skip
    for change in changes:
        if change.rebuilds:
            return REBUILD, str(change)
    for reason in _reasons_for_all(table, wanted, key, changes, since, taken):
        return FULL, reason
    assert since is not None  # noqa: S101 - without it there was a reason
    return INCREMENT, f"changed since {since.snapshot_at:%Y-%m-%d %H:%M}"


def _reasons_for_all(
    table: Table, wanted: Shape, key: Sequence[str], changes: Sequence[Change], since: Watermark | None,
    taken: Snapshot,
) -> Iterator[str]:  # fmt: skip
    """Yield why all rows have to be read, if they have to."""
    if since is None:
        yield "no load is known that it could go on from"
        return
    if table.changes == "full":
        yield "declared"
    if not key:
        yield "it has no key"
    yield from (str(change) for change in changes if change.refreshes)
    if (since.system_identifier, since.timeline) != (taken.system_identifier, taken.timeline):
        yield "the source was restored or failed over"
    if since.quarantined:
        yield f"{since.quarantined:,} rows were quarantined in the last load"
    if table.changes == "xmin" and not wanted.has_xmin:
        yield f"a {'view' if wanted.kind == 'v' else 'foreign table'} tells no changes"
    if table.changes == "xmin" and not 0 <= taken.next_transaction - since.horizon < HALF_CIRCLE:
        yield "the last load is too long ago to tell what changed"
    if table.changes == "cursor" and since.cursor_value is None:
        yield "the last load knew no cursor"
