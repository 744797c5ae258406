"""Drift: how a table differs from the shape in which it was last loaded, and what is done about it.

Each difference has a kind, and each kind an action, which the analysts may set for a source or a table:

evolve   take it in; what was loaded before stays as it is
refresh  take it in, and read the whole table again
ignore   load the table as if nothing had changed
block    load nothing until a person has decided; the last good rows stay up
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.catalog import Table
from pipeline.loading.shapes import identity, masking, retyped
from pipeline.names import in_yaml
from pipeline.warehouse.shape import Column, Shape

EVOLVE, REFRESH, IGNORE, BLOCK = "evolve", "refresh", "ignore", "block"

# What a careful engineer would do: take in what cannot lose anything, stop for what can.
DEFAULT_ACTIONS: Mapping[str, str] = {
    "added": EVOLVE,
    # Adding a default writes no row: only reading all of them again brings it over.
    "added_with_default": REFRESH,
    "dropped": EVOLVE,
    "renamed": BLOCK,
    "widened": EVOLVE,
    "narrowed": BLOCK,
    "type": BLOCK,
    "nullable": IGNORE,
    "key": BLOCK,
    "recreated": REFRESH,
    "enum": EVOLVE,
    "order": IGNORE,
    # The rows of a table that becomes a partition were written long before.
    "partition": REFRESH,
    "mask": REFRESH,
}
# Nobody can set these: only a line under the column says otherwise.
FIXED_ACTIONS: Mapping[str, str] = {
    "mask_kept": IGNORE,
    "mask_unknown": BLOCK,
    "mask_beside": BLOCK,
    "mask_filtered": BLOCK,
    "where": REFRESH,
    "where_on": REFRESH,
    "listed": REFRESH,
}


@dataclass(frozen=True)
class Change:
    """One difference. `old` and `new` say what it was and is, in words for a person.

    `users` are the views that show the column, where it is for them that the table is blocked. `reused`: the
    old or the new name of what was renamed is also that of another column.
    """

    kind: str
    column: str
    old: str
    new: str
    action: str
    users: tuple[str, ...] = ()
    reused: bool = False

    @property
    def blocks(self) -> bool:
        """Whether nothing is loaded until a person has decided."""
        return self.action == BLOCK

    @property
    def refreshes(self) -> bool:
        """Whether the whole table is to be read again."""
        return self.action == REFRESH or (self.rebuilds and self.action == EVOLVE)

    @property
    def rebuilds(self) -> bool:
        """Whether the warehouse's table needs other types, another key, or must forget what it holds."""
        another = self.kind in ("widened", "narrowed", "type", "key", "mask", "listed") or self.reused
        return another and self.action in (EVOLVE, REFRESH)

    def __str__(self) -> str:
        words = {
            "added": 'column "{column}" ({new}) is new in the source',
            "added_with_default": 'column "{column}" ({new}) is new in the source',
            "dropped": 'column "{column}" ({old}) is gone from the source',
            "renamed": 'column "{old}" was renamed to "{new}" in the source',
            "key": "its key was ({old}) and is ({new}) now",
            "recreated": "it was dropped and made anew in the source",
            "order": "its columns are in another order in the source",
            "partition": "its partitions changed: {old}{new}",
            "mask": "{thing} was {old} and is to be {new}",
            "mask_kept": 'column "{column}" stays {new}, as it was loaded before, though its declaration '
            "does not say so",
            "mask_beside": 'column "{column}" ({new}) would show what is masked: {old}',
            "mask_filtered": 'its where names column "{column}", which is {old}, so that which rows are '
            "there would tell of it",
            "listed": 'column "{column}" {new}',
            "where": "which of its rows are loaded was declared otherwise: {old}, and now {new}",
            "where_on": "what its where looks at was made anew in the source, or is computed otherwise",
            "mask_unknown": 'column "{column}" ({new}) is new, and nobody can tell whether it holds what is '
            "masked in {old}",
        }.get(self.kind, 'column "{column}" was {old} and is {new} now')
        thing = f'column "{self.column}"' if self.column else "it"
        return words.format(column=self.column, old=self.old, new=self.new, thing=thing)

    @property
    def fact(self) -> str:
        """Return what happened, and who shows the column where it is for them that the table is blocked."""
        verb = "shows" if len(self.users) == 1 else "show"
        return f"{self}, and {', '.join(self.users)} {verb} it" if self.users and self.blocks else str(self)

    def hint(self, table: Table) -> str:
        """Return what to write to accept it, where it blocks the table or keeps what is not declared."""
        file = f"sources/{table.source}.yaml"
        column = f"under {in_yaml(self.column)} in {file}"
        if self.kind == "mask_kept":
            mask = f"mask: {in_yaml(self.old)}"
            return f"write '{mask}' {column}, or 'unmasked: reviewed' to load it as it is declared"
        if not self.blocks:
            return ""
        if self.kind == "renamed":
            return f"to accept it, write 'renamed_from: {in_yaml(self.old)}' {column}"
        if self.kind == "mask_filtered":
            return f"remove it, or write 'unmasked: reviewed' beside its mask {column}"
        if self.kind in ("mask_unknown", "mask_beside"):
            return f"to accept it, write 'unmasked: reviewed' {column}, or the mask that it needs"
        wanted = "evolve" if self.kind == "dropped" else "refresh"
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
    found = [*columns, *_whole(accepted, current, columns)]
    return tuple(_with_action(change, table) for change in found)


def beside(column: Column, of: str) -> Change:
    """Return that a column would show what is masked elsewhere."""
    return replace(_change("mask_beside", column.name, of, column.type), action=BLOCK)


def filtered(column: Column) -> Change:
    """Return that the table is filtered by a masked column."""
    return replace(_change("mask_filtered", column.name, _masked(column)), action=BLOCK)


def of_masks(accepted: Shape | None, current: Shape, table: Table) -> tuple[Change, ...]:
    """Return what `compare` finds of masks alone, for a table that the warehouse has not any more."""
    return tuple(change for change in compare(accepted, current, table) if change.kind.startswith("mask_"))


def _with_action(change: Change, table: Table) -> Change:
    declared = table.columns.get(change.column)
    if change.kind == "renamed" and declared and declared.renamed_from == change.old:
        action = EVOLVE
    elif change.kind in FIXED_ACTIONS:
        action = FIXED_ACTIONS[change.kind]
    else:
        action = dict(table.drift).get(change.kind) or DEFAULT_ACTIONS[change.kind]  # type: ignore[call-overload]
        if change.kind == "key" and table.key and "key" not in table.drift:
            # It is the analysts who declared another one.
            action = REFRESH
    return replace(change, action=action)


def _change(kind: str, column: str = "", old: str = "", new: str = "", *, reused: bool = False) -> Change:
    return Change(kind, column, old, new, "", reused=reused)


def _columns(accepted: Shape, current: Shape, table: Table) -> Iterator[Change]:
    recreated = not identity.same_table(accepted, current)
    pairs = identity.matched(accepted, current, table)
    for old, new in pairs:
        if new is None:
            if not old.stays:
                yield _change("dropped", old.name, old.type)
            continue
        if new.name != old.name and not (old.unlisted and new.unlisted and not new.mask):
            yield _change(
                "renamed", new.name, old.name, new.name, reused=_reused(old, new, accepted, current)
            )
        elif new.attnum != old.attnum and not recreated and not old.stays:
            yield _change("added_with_default", new.name, "", f"{new.type}, dropped and made anew")
        if old.mask != new.mask:
            yield _change("mask", new.name, _masked(old), _masked(new))
        elif old.stays != new.stays:
            now = "is not listed any more, and leaves the warehouse" if new.stays else "is to be loaded now"
            yield _change("listed", new.name, "", now)
        if not (old.stays or new.stays):
            yield from _column(old, new, recreated=recreated)
    matched = {new.name for _, new in pairs if new is not None}
    for column in current.columns:
        if column.name not in matched:
            filled = column.default is not None or column.identity or column.not_null
            yield _change("added_with_default" if filled else "added", column.name, "", column.type)
    for kind, column, said in masking.doubts(accepted, current, table, pairs):
        yield _change(kind, column.name, said, _masked(column) if kind == "mask_kept" else column.type)


def _reused(old: Column, new: Column, accepted: Shape, current: Shape) -> bool:
    """Whether one of the two names is, or was, also that of another column."""
    return old.name in identity.by_name(current) or new.name in identity.by_name(accepted)


def _column(old: Column, new: Column, *, recreated: bool) -> Iterator[Change]:
    if retyped.type_but_labels(old) != retyped.type_but_labels(new):
        yield _change(retyped.kind(old, new), new.name, retyped.typed(old), retyped.typed(new))
    elif relabelled := retyped.relabelled(old, new):
        others = [pair for pair in relabelled if not retyped.only_grew(*pair, recreated=recreated)]
        was, now = (others or relabelled)[0]
        kind = "type" if others else "enum"
        yield _change(kind, new.name, retyped.labelled(old, was), retyped.labelled(new, now))
    elif new.generated and old.default != new.default:
        # What is computed when it is read changes in no row's xmin.
        yield _change("added_with_default", new.name, "", f"{new.type}, computed in another way")
    if old.not_null != new.not_null:
        words = {True: "not null", False: "nullable"}
        yield _change("nullable", new.name, words[old.not_null], words[new.not_null])


def _whole(accepted: Shape, current: Shape, columns: Sequence[Change]) -> Iterator[Change]:
    if not identity.same_table(accepted, current):
        yield _change("recreated")
    # A column of the key that was renamed is still the same column.
    called = {change.old: change.new for change in columns if change.kind == "renamed"}
    if tuple(called.get(name, name) for name in accepted.key) != current.key:
        yield _change("key", "", ", ".join(accepted.key) or "none", ", ".join(current.key) or "none")
    before, after = set(accepted.partitions), set(current.partitions)
    if before != after and identity.same_table(accepted, current):
        came, went = len(after - before), len(before - after)
        yield _change("partition", "", f"{went} went, " if went else "", f"{came} came")
    if accepted.mask_key and current.mask_key and accepted.mask_key != current.mask_key:
        yield _change("mask", "", "hashed with another key", "hashed with the one in Vault now")
    if accepted.where != current.where:
        yield _change("where", "", accepted.where or "all rows", current.where or "all rows")
    elif accepted.where_on != current.where_on:
        yield _change("where_on")  # the source's doing, and held to max_deleted
    common = [name for name in current.names if accepted.column(name)]
    if common != [name for name in accepted.names if current.column(name)]:
        yield _change("order")


def _masked(column: Column) -> str:
    return {None: "loaded as it is", "hash": "hashed", "null": "left empty"}.get(column.mask, "excluded")
