"""Drift: how a table differs from the shape in which it was last loaded, and what is done about it.

Each difference has a kind, and each kind an action, which the analysts may set for a source or a table:

evolve   take it in; what was loaded before stays as it is
refresh  take it in, and read the whole table again
ignore   load the table as if nothing had changed
block    load nothing until a person has decided; the last good rows stay up
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.catalog import DriftAction, DriftKind, Mask, Table
from pipeline.loading.shapes import identity, masking, retyped
from pipeline.loading.shapes.kinds import FixedKind, Kind
from pipeline.names import in_yaml
from pipeline.warehouse.shape import Column, Shape

# Where the warehouse's table needs other types, another key, or must forget what it holds.
REBUILDING: frozenset[Kind] = frozenset(
    {DriftKind.WIDENED, DriftKind.NARROWED, DriftKind.TYPE, DriftKind.KEY, DriftKind.MASK, FixedKind.LISTED}
)
# What a careful engineer would do: take in what cannot lose anything, stop for what can.
DEFAULT_ACTIONS: Mapping[DriftKind, DriftAction] = {
    DriftKind.ADDED: DriftAction.EVOLVE,
    # Adding a default writes no row: only reading all of them again brings it over.
    DriftKind.ADDED_WITH_DEFAULT: DriftAction.REFRESH,
    DriftKind.DROPPED: DriftAction.EVOLVE,
    DriftKind.RENAMED: DriftAction.BLOCK,
    DriftKind.WIDENED: DriftAction.EVOLVE,
    DriftKind.NARROWED: DriftAction.BLOCK,
    DriftKind.TYPE: DriftAction.BLOCK,
    DriftKind.NULLABLE: DriftAction.IGNORE,
    DriftKind.KEY: DriftAction.BLOCK,
    DriftKind.RECREATED: DriftAction.REFRESH,
    DriftKind.ENUM: DriftAction.EVOLVE,
    DriftKind.ORDER: DriftAction.IGNORE,
    # The rows of a table that becomes a partition were written long before.
    DriftKind.PARTITION: DriftAction.REFRESH,
    DriftKind.MASK: DriftAction.REFRESH,
}
FIXED_ACTIONS: Mapping[FixedKind, DriftAction] = {
    FixedKind.MASK_KEPT: DriftAction.IGNORE,
    FixedKind.MASK_UNKNOWN: DriftAction.BLOCK,
    FixedKind.MASK_BESIDE: DriftAction.BLOCK,
    FixedKind.MASK_FILTERED: DriftAction.BLOCK,
    FixedKind.WHERE: DriftAction.REFRESH,
    FixedKind.WHERE_ON: DriftAction.REFRESH,
    FixedKind.LISTED: DriftAction.REFRESH,
    FixedKind.ATTRIBUTE: DriftAction.REFRESH,
}

WORDS: Mapping[Kind, str] = {
    DriftKind.ADDED: 'column "{column}" ({new}) is new in the source',
    DriftKind.ADDED_WITH_DEFAULT: 'column "{column}" ({new}) is new in the source',
    DriftKind.DROPPED: 'column "{column}" ({old}) is gone from the source',
    DriftKind.RENAMED: 'column "{old}" was renamed to "{new}" in the source',
    DriftKind.KEY: "its key changed from ({old}) to ({new})",
    DriftKind.RECREATED: "it was dropped and created again in the source",
    DriftKind.ORDER: "its columns are in another order in the source",
    DriftKind.PARTITION: "its partitions changed: {old}{new}",
    DriftKind.MASK: "{what} was {old} and is now declared as {new}",
    FixedKind.MASK_KEPT: 'column "{column}" stays {new}, as it was loaded before, though its declaration '
    "does not say so",
    FixedKind.MASK_BESIDE: 'column "{column}" ({new}) would show masked values: {old}',
    FixedKind.MASK_FILTERED: 'its where names column "{column}", which is {old}, so that the rows '
    "that are there would reveal it",
    FixedKind.LISTED: 'column "{column}" {new}',
    FixedKind.WHERE: "its where changed: it was {old}, and is now {new}",
    FixedKind.WHERE_ON: "a column of its where was created again in the source, or is computed in "
    "another way",
    FixedKind.MASK_UNKNOWN: 'column "{column}" ({new}) is new, and may hold the values that are '
    "masked in {old}",
    FixedKind.ATTRIBUTE: 'column "{column}" has an attribute that was dropped and created again in the '
    "source: {new}",
}


@dataclass(frozen=True)
class Change:
    """One difference. `old` and `new` say what it was and is, in words for a person.

    `users` are the views that show the column, where it is for them that the table is blocked. `reused`: the
    old or the new name of what was renamed is also that of another column.
    """

    kind: Kind
    column: str
    old: str
    new: str
    action: DriftAction
    users: tuple[str, ...] = ()
    reused: bool = False

    @property
    def blocks(self) -> bool:
        """Whether nothing is loaded until a person has decided."""
        return self.action == DriftAction.BLOCK

    @property
    def refreshes(self) -> bool:
        """Whether the whole table is to be read again."""
        return self.action == DriftAction.REFRESH or (self.rebuilds and self.action == DriftAction.EVOLVE)

    @property
    def rebuilds(self) -> bool:
        """Whether the warehouse's table needs other types, another key, or must forget what it holds."""
        another = self.kind in REBUILDING or self.reused
        return another and self.action in (DriftAction.EVOLVE, DriftAction.REFRESH)

    def __str__(self) -> str:
        words = WORDS.get(self.kind, 'column "{column}" changed from {old} to {new}')
        what = f'column "{self.column}"' if self.column else "it"
        return words.format(column=self.column, old=self.old, new=self.new, what=what)

    @property
    def fact(self) -> str:
        """Return what happened, and who shows the column where it is for them that the table is blocked."""
        verb = "shows" if len(self.users) == 1 else "show"
        return f"{self}, and {', '.join(self.users)} {verb} it" if self.users and self.blocks else str(self)

    def hint(self, table: Table) -> str:
        """Return what to write to accept it, where it blocks the table or keeps what is not declared."""
        file = table.file
        column = f"under {in_yaml(self.column)} in {file}"
        if self.kind == FixedKind.MASK_KEPT:
            mask = f"mask: {in_yaml(self.old)}"
            return f"write '{mask}' {column}, or 'unmasked: reviewed' to load it as it is declared"
        if not self.blocks:
            return ""
        if self.kind == DriftKind.RENAMED:
            return f"to accept it, write 'renamed_from: {in_yaml(self.old)}' {column}"
        if self.kind == FixedKind.MASK_FILTERED:
            return f"remove it, or write 'unmasked: reviewed' beside its mask {column}"
        if self.kind in (FixedKind.MASK_UNKNOWN, FixedKind.MASK_BESIDE):
            return f"to accept it, write 'unmasked: reviewed' {column}, or the mask that it needs"
        wanted = DriftAction.EVOLVE if self.kind == DriftKind.DROPPED else DriftAction.REFRESH
        line = f"drift: {{{self.kind}: {wanted}}}"
        return f"to accept it, write '{line}' under {in_yaml(table.name)} in {file}"

    def describe(self, table: Table) -> str:
        """Return what happened and what to write, in one line."""
        return "; ".join(filter(None, (self.fact, self.hint(table))))


def compare(accepted: Shape | None, current: Shape, table: Table) -> tuple[Change, ...]:
    """Return every difference from the accepted shape to the current one, each with the action it gets.

    There is none for a table that was never loaded.
    """
    if accepted is None:
        return ()
    columns = list(_columns(accepted, current, table))
    changes = [*columns, *_whole(accepted, current, columns)]
    return tuple(_with_action(change, table) for change in changes)


def beside(column: Column, of: str) -> Change:
    """Return that a column would show what is masked elsewhere."""
    return replace(_change(FixedKind.MASK_BESIDE, column.name, of, column.type), action=DriftAction.BLOCK)


def filtered(column: Column) -> Change:
    """Return that the table is filtered by a masked column."""
    return replace(_change(FixedKind.MASK_FILTERED, column.name, _masked(column)), action=DriftAction.BLOCK)


def of_masks(accepted: Shape | None, current: Shape, table: Table) -> tuple[Change, ...]:
    """Return what `compare` finds of masks alone, for a table that the warehouse has not any more."""
    return tuple(change for change in compare(accepted, current, table) if change.kind.startswith("mask_"))


def _with_action(change: Change, table: Table) -> Change:
    declared = table.columns.get(change.column)
    if change.kind == DriftKind.RENAMED and declared and declared.renamed_from == change.old:
        action = DriftAction.EVOLVE
    elif isinstance(change.kind, FixedKind):
        action = FIXED_ACTIONS[change.kind]
    else:
        action = table.drift.get(change.kind) or DEFAULT_ACTIONS[change.kind]
        if change.kind == DriftKind.KEY and table.key and DriftKind.KEY not in table.drift:
            # It is the analysts who declared another one.
            action = DriftAction.REFRESH
    return replace(change, action=action)


def _change(kind: Kind, column: str = "", old: str = "", new: str = "", *, reused: bool = False) -> Change:
    """Return a change whose action is still to be found."""
    return Change(kind, column, old, new, DriftAction.BLOCK, reused=reused)


def _columns(accepted: Shape, current: Shape, table: Table) -> Iterator[Change]:
    recreated = not identity.same_table(accepted, current)
    pairs = identity.matched(accepted, current, table)
    for old, new in pairs:
        if new is None:
            if not old.stays:
                yield _change(DriftKind.DROPPED, old.name, old.type)
            continue
        if new.name != old.name and not (old.unlisted and new.unlisted and not new.mask):
            yield _change(
                DriftKind.RENAMED, new.name, old.name, new.name, reused=_reused(old, new, accepted, current)
            )
        elif new.attnum != old.attnum and not recreated and not old.stays:
            yield _change(
                DriftKind.ADDED_WITH_DEFAULT, new.name, "", f"{new.type}, dropped and created again"
            )
        if old.mask != new.mask:
            yield _change(DriftKind.MASK, new.name, _masked(old), _masked(new))
        elif old.stays != new.stays:
            now = "is no longer listed, and leaves the warehouse" if new.stays else "will be loaded now"
            yield _change(FixedKind.LISTED, new.name, "", now)
        if not (old.stays or new.stays):
            yield from _column(old, new, recreated=recreated)
    matched = {new.name for _, new in pairs if new is not None}
    for column in current.columns:
        if column.name not in matched:
            filled = column.default is not None or column.identity or column.not_null
            yield _change(
                DriftKind.ADDED_WITH_DEFAULT if filled else DriftKind.ADDED, column.name, "", column.type
            )
    for kind, column, of in masking.doubts(accepted, current, table, pairs):
        yield _change(kind, column.name, of, _masked(column) if kind == FixedKind.MASK_KEPT else column.type)


def _reused(old: Column, new: Column, accepted: Shape, current: Shape) -> bool:
    """Whether one of the two names is, or was, also that of another column."""
    return old.name in identity.by_name(current) or new.name in identity.by_name(accepted)


def _column(old: Column, new: Column, *, recreated: bool) -> Iterator[Change]:
    if retyped.type_but_labels(old) != retyped.type_but_labels(new):
        yield _change(retyped.kind(old, new), new.name, retyped.typed(old), retyped.typed(new))
    elif relabelled := retyped.relabelled(old, new):
        others = [pair for pair in relabelled if not retyped.only_grew(*pair, recreated=recreated)]
        was, now = (others or relabelled)[0]
        kind = DriftKind.TYPE if others else DriftKind.ENUM
        yield _change(kind, new.name, retyped.labelled(old, was), retyped.labelled(new, now))
    elif new.generated and old.default != new.default:
        # What is computed when it is read changes in no row's xmin.
        yield _change(DriftKind.ADDED_WITH_DEFAULT, new.name, "", f"{new.type}, computed in another way")
    if not recreated and (anew := retyped.recreated_attributes(old, new)):
        yield _change(FixedKind.ATTRIBUTE, new.name, "", ", ".join(anew))
    if old.not_null != new.not_null:
        words = {True: "not null", False: "nullable"}
        yield _change(DriftKind.NULLABLE, new.name, words[old.not_null], words[new.not_null])


def _whole(accepted: Shape, current: Shape, columns: Sequence[Change]) -> Iterator[Change]:
    if not identity.same_table(accepted, current):
        yield _change(DriftKind.RECREATED)
    # A column of the key that was renamed is still the same column.
    called = {change.old: change.new for change in columns if change.kind == DriftKind.RENAMED}
    if tuple(called.get(name, name) for name in accepted.key) != current.key:
        yield _change(DriftKind.KEY, "", ", ".join(accepted.key) or "none", ", ".join(current.key) or "none")
    before, after = set(accepted.partitions), set(current.partitions)
    if before != after and identity.same_table(accepted, current):
        came, went = len(after - before), len(before - after)
        yield _change(DriftKind.PARTITION, "", f"{went} went, " if went else "", f"{came} came")
    if accepted.mask_key and current.mask_key and accepted.mask_key != current.mask_key:
        yield _change(DriftKind.MASK, "", "hashed with another key", "hashed with the one in Vault now")
    if accepted.where != current.where:
        yield _change(FixedKind.WHERE, "", accepted.where or "all rows", current.where or "all rows")
    elif accepted.where_on != current.where_on:
        yield _change(FixedKind.WHERE_ON)  # the source's doing, and held to max_deleted
    common = [name for name in current.names if accepted.column(name)]
    if common != [name for name in accepted.names if current.column(name)]:
        yield _change(DriftKind.ORDER)


def _masked(column: Column) -> str:
    words: dict[str | None, str] = {None: "loaded as it is", Mask.HASH: "hashed", Mask.NULL: "left empty"}
    return words.get(column.mask, "excluded")
