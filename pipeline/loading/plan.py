"""Plan: what of a table is to be read, in which shape, and why. Looks at everything and changes nothing."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from psycopg2 import sql

from pipeline import ledger, mask, postgres
from pipeline.catalog import Changes, DriftAction, DriftKind, Mask, RelationKind, Table
from pipeline.errors import StepError
from pipeline.ledger import Watermark
from pipeline.loading.extracted import Mode
from pipeline.loading.shapes import altered, desired, drift, filtering, shown
from pipeline.loading.shapes.drift import Change
from pipeline.postgres import Composable, Connection
from pipeline.postgres.snapshot import ANOTHER, Snapshot
from pipeline.warehouse import shape, staging, types, views
from pipeline.warehouse.shape import Column, Shape
from pipeline.warehouse.staging import Staged

# Transaction ids go round in 32 bits in the rows themselves: half of the circle is behind, half ahead.
HALF_CIRCLE = 2**31
ADDED = frozenset({DriftKind.ADDED, DriftKind.ADDED_WITH_DEFAULT})
TIME_TYPES = ("timestamp", "date")
# Numbers that may be endless or none at all, and what no cursor goes on from, as PostgreSQL writes it.
ENDLESS_NUMBERS = frozenset({"numeric", "real", "double precision"})
ENDLESS_NUMERIC_SINCE = 14
ENDLESS = frozenset({"NaN", "Infinity", "infinity"})
# What stands for "for ever" in whole numbers, which have no other word for it.
GREATEST = {"smallint": "32767", "integer": "2147483647", "bigint": "9223372036854775807"}


@dataclass(frozen=True)
class Plan:
    """What an extraction will read, and why. `shape` has what is loaded, masks and all.

    `renamed` has, for columns that the warehouse's table still calls by their old name, that name by the new.
    `key_is_enforced`: whether the source itself sees to it that each key is there once.
    """

    table: Table
    mode: Mode
    reason: str
    shape: Shape
    key: tuple[str, ...]
    changes: tuple[Change, ...]
    since: Watermark | None
    relation: sql.Identifier
    renamed: Mapping[str, str]
    key_is_enforced: bool

    @property
    def columns(self) -> tuple[Column, ...]:
        return self.shape.columns

    @property
    def key_columns(self) -> tuple[Column, ...]:
        """The columns of the key, in the table's order."""
        return tuple(column for column in self.columns if column.name in self.key)

    @property
    def cursor_type(self) -> str | None:
        """The cursor's type, domains and modifiers aside."""
        cursor = self.shape.column(self.table.cursor or "")
        type_ = cursor and (cursor.domain_of or cursor.type)
        return re.sub(r"\(.*?\)", "", type_) if type_ else None

    @property
    def timed_cursor(self) -> str | None:
        """The cursor's type if it is a moment: only then does a lookback mean something."""
        type_ = self.cursor_type
        return type_ if type_ and type_.startswith(TIME_TYPES) else None

    def goes_on_from(self, value: str | None) -> bool:
        """Whether later rows may have a greater cursor than this value, as PostgreSQL writes it."""
        return value is not None and value not in ENDLESS and value != GREATEST.get(self.cursor_type or "")

    def selection(self, columns: Sequence[Column]) -> Composable:
        """Return the query that reads these columns of what is to be read."""
        expressions = sql.SQL(", ").join(map(expression, columns))
        return sql.SQL("SELECT {} FROM {}").format(expressions, self.relation)

    def condition(self) -> Composable:
        """Return the WHERE of what is to be read, with a space before it; nothing for all rows."""
        changed = [self.changed()] if self.mode == Mode.INCREMENT else []
        return filtering.restricted(self.table, *changed)

    def changed(self) -> Composable:
        """Return the condition under which a row may have changed since it was last loaded."""
        assert self.since is not None  # noqa: S101 - without it all rows are read
        return self.written() if self.table.changes == Changes.XMIN else self._cursor_condition(self.since)

    def written(self) -> Composable:
        """Return the condition under which a row may have been written since the table was last loaded.

        It holds for every relation whose rows have an xmin, however its changes are found.
        """
        assert self.since is not None  # noqa: S101 - without it all rows are read
        # Ages are told in the circle in which transaction ids go round: the horizon's is so young as well.
        return sql.SQL("age(xmin) <= (SELECT age({}::xid))").format(
            sql.Literal(str(self.since.horizon % 2**32))
        )

    def _cursor_condition(self, since: Watermark) -> Composable:
        cursor = self.shape.column(self.table.cursor or "")
        assert cursor is not None  # noqa: S101 - make() saw to it
        lookback: Composable = sql.SQL("")
        if self.timed_cursor:
            seconds = f"{self.table.lookback.total_seconds()} seconds"
            lookback = sql.SQL(" - {}::interval").format(sql.Literal(seconds))
        # A row whose cursor is empty, or before or after every other, is read every time.
        endless: Composable = sql.SQL("")
        if self.timed_cursor or (
            self.cursor_type in ENDLESS_NUMBERS
            and (self.cursor_type != "numeric" or self.shape.server >= ENDLESS_NUMERIC_SINCE)
        ):
            endless = sql.SQL(" OR {} = '-Infinity'").format(sql.Identifier(cursor.name))
        return sql.SQL("{cursor} IS NULL OR {cursor} >= {value}::{type}{lookback}{endless}").format(
            endless=endless,
            cursor=sql.Identifier(cursor.name),
            value=sql.Literal(since.cursor_value),
            type=sql.SQL(cursor.type),
            lookback=lookback,
        )


def expression(column: Column) -> Composable:
    """Return what the source is asked for to get a column as it is loaded."""
    name = sql.Identifier(column.name)
    if column.mask == Mask.HASH:
        return mask.hashed(name)
    if column.mask == Mask.NULL:
        # Not the domain, which may want a value.
        return mask.empty(sql.SQL("text" if column.text else column.full_type.undressed.written))
    return column.expression()


def make(
    warehouse: Connection, source: Connection, table: Table, taken: Snapshot, unlock: Callable[[], str]
) -> Plan:
    """Return what is to be read of a table.

    `unlock` gives the source's session the key of the hashes, where there are any, and tells it from another.

    Raise StepError if the source has no such table, or not the columns that the catalog names.
    """
    target = _target_columns(warehouse, table)
    last = _accepted(warehouse, table)
    accepted = last if target is not None else None
    current = replace(
        shape.read(source, table.schema_name, table.relation, table),
        system_identifier=taken.system_identifier,
    )
    key = desired.key_of(table, current, accepted)
    desired.require_guessed(table, current)
    desired.require_columns(table, current, accepted, key, list(target or ()))
    others = list(map(Shape.from_json, ledger.shapes_of(warehouse, table.source, current.oid)))
    relation = sql.Identifier(table.schema_name, table.relation)
    filtering.require_sound(source, table, relation)
    wanted = types.fit(warehouse, desired.shape_of(table, current, last, others, key, unlock))
    desired.require_readable(table, wanted)
    # What was masked once is so also where the warehouse has no such table any more.
    if accepted is not None:
        changes = compared(warehouse, accepted, wanted, table)
    else:
        changes = drift.of_masks(last, wanted, table)
    changes += tuple(drift.beside(column, of) for column, of in shown.shown(source, wanted, table))
    changes += tuple(map(drift.filtered, filtering.masked(table, wanted)))
    ignored = {
        change.column for change in changes if change.kind in ADDED and change.action == DriftAction.IGNORE
    }
    wanted = replace(wanted, columns=tuple(column for column in wanted.columns if column.name not in ignored))
    since = ledger.watermark(warehouse, table.source, table.name)
    if since is not None and target is not None:
        _require_later(since, taken)
    known = target or {}
    renamed = {
        change.column: change.old
        for change in changes
        if change.kind == DriftKind.RENAMED and change.old in known and change.new not in known
    }
    # The key of a parent says nothing of the rows of those that inherit from it.
    enforced = key == current.key and not shape.is_inherited_from(source, current)
    planned = Plan(
        table, Mode.FIRST, "never loaded before", wanted, key, changes, since, relation, renamed, enforced
    )
    if target is None and not any(change.blocks for change in changes):
        return planned
    kept = {name for name in known if accepted is None or accepted.column(name) is None}
    ended = [
        *_reasons_for_a_new_table(planned, kept),
        *altered.by_hand(warehouse, table.source, accepted, wanted, changes, known),
    ]
    mode, reason = _mode(planned, ended, source, taken)
    return replace(planned, mode=mode, reason=reason)


def compared(
    warehouse: Connection, accepted: Shape | None, wanted: Shape, table: Table
) -> tuple[Change, ...]:
    """Return every difference between two shapes, each with the action that it gets here.

    A column that is gone blocks the table if somebody's view shows it, unless the catalog says otherwise.
    """
    return tuple(
        replace(change, action=DriftAction.BLOCK, users=users)
        if change.kind == DriftKind.DROPPED
        and DriftKind.DROPPED not in table.drift
        and (users := tuple(views.showing(warehouse, table.source, table.name, change.column)))
        else change
        for change in drift.compare(accepted, wanted, table)
    )


def _accepted(warehouse: Connection, table: Table) -> Shape | None:
    shape = ledger.accepted_shape(warehouse, table.source, table.name)
    return Shape.from_json(shape) if shape else None


def _target_columns(warehouse: Connection, table: Table) -> dict[str, str] | None:
    """Return the types of the warehouse's columns by their names, None if there is no such table yet."""
    return staging.columns_if_any(warehouse, Staged(table, "").target)


def _require_later(since: Watermark, taken: Snapshot) -> None:
    """Raise StepError if the snapshot is of an earlier moment than what is loaded already."""
    if since.system_identifier == taken.system_identifier and taken.taken_at < since.snapshot_at:
        raise StepError(
            f"the snapshot of this run is of {taken.taken_at:%Y-%m-%d %H:%M:%S}, but the table was "
            f"loaded as of {since.snapshot_at:%Y-%m-%d %H:%M:%S} in run {since.run}",
            hint=f"leave it, because the loaded rows are newer, or {ANOTHER}",
        )


def _mode(planned: Plan, ended: Sequence[str], source: Connection, taken: Snapshot) -> tuple[Mode, str]:
    """Return how to read the table, and why. `ended`: why the warehouse's own cannot go on, if it cannot."""
    for change in planned.changes:
        if change.blocks:
            return Mode.BLOCKED, str(change)
    for reason in ended:
        return Mode.REBUILD, reason
    for reason in _reasons_for_all(planned, source, taken):
        return Mode.FULL, reason
    assert planned.since is not None  # noqa: S101 - without it there was a reason
    return Mode.INCREMENT, f"changed since {planned.since.snapshot_at:%Y-%m-%d %H:%M}"


def _reasons_for_a_new_table(planned: Plan, kept: Set[str]) -> Iterator[str]:
    """Yield why the warehouse's table cannot go on, if it cannot."""
    yield from (str(change) for change in planned.changes if change.rebuilds)
    for change in planned.changes:
        # Its rows still have the old values.
        if change.kind in (*ADDED, DriftKind.RENAMED) and change.column in kept:
            yield f'the warehouse kept an older column "{change.column}"'


def _reasons_for_all(planned: Plan, source: Connection, taken: Snapshot) -> Iterator[str]:
    """Yield why all rows have to be read, if they have to."""
    table, since = planned.table, planned.since
    if since is None:
        yield "there is no earlier load to continue from"
        return
    if since.in_full:
        yield since.in_full
    if table.changes == Changes.FULL:
        yield "declared"
    if not planned.key:
        yield "it has no key"
    yield from (str(change) for change in planned.changes if change.refreshes)
    if (since.system_identifier, since.timeline) != (taken.system_identifier, taken.timeline):
        yield "the source was restored or failed over"
    elif since.history != taken.history:
        yield taken.history_reason
    if since.quarantined:
        yield f"{since.quarantined:,} rows were quarantined in the last load"
    if table.changes == Changes.XMIN and not planned.shape.has_xmin:
        yield (
            f"a {'view' if planned.shape.kind == RelationKind.VIEW else 'foreign table'} does not "
            "show which rows changed"
        )
    if table.changes == Changes.XMIN and not 0 <= taken.next_transaction - since.horizon < HALF_CIRCLE:
        yield "the last load is too long ago to find the changes"
    if since.cursor_name != (table.cursor if table.changes == Changes.CURSOR else None):
        yield "it had another cursor before"
    if table.changes == Changes.CURSOR and not planned.goes_on_from(since.cursor_value):
        yield "the last load recorded no cursor value"
    yield from _filled_before(replace(planned, mode=Mode.INCREMENT), source)


def _filled_before(planned: Plan, source: Connection) -> Iterator[str]:
    """Find new columns with values in rows that would not be read: a default that is gone leaves them."""
    for change in planned.changes:
        if change.kind == DriftKind.ADDED and change.action == DriftAction.EVOLVE:
            column = sql.Identifier(change.column)
            query = sql.SQL(
                "SELECT EXISTS (SELECT 1 FROM {} WHERE {} IS NOT NULL AND NOT ({}) AND {})"
            ).format(planned.relation, column, planned.changed(), filtering.condition(planned.table))
            if postgres.value(source, query):
                yield f'column "{change.column}" is new and has values in rows that did not change'
