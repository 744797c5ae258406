"""Drift: how a table differs from the shape in which it was last loaded, and what is done about it.

Each difference has a kind, and each kind an action, which the analysts may set for a source or a table:

evolve   take it in; what was loaded before stays as it is
refresh  take it in, and read the whole table again
ignore   load the table as if nothing had changed
block    load nothing until a person has decided; the last good rows stay up
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.catalog import Table
from pipeline.loading.definitions import Type
from pipeline.loading.shape import Column, Shape
from pipeline.names import in_yaml

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

# The types whose every value another type holds too, from the narrowest to the widest.
WIDENING: Sequence[Sequence[str]] = (
    ("smallint", "integer", "bigint", "numeric"),
    ("real", "double precision"),
    ("character varying", "text"),
)


@dataclass(frozen=True)
class Change:
    """One difference. `old` and `new` say what it was and is, in words for a person.

    `users` are the views that show the column, where it is for them that the table is blocked.
    """

    kind: str
    column: str
    old: str
    new: str
    action: str
    users: tuple[str, ...] = ()

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
        return self.kind in ("widened", "narrowed", "type", "key", "mask") and self.action in (
            EVOLVE,
            REFRESH,
        )

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
        }.get(self.kind, 'column "{column}" was {old} and is {new} now')
        thing = f'column "{self.column}"' if self.column else "it"
        return words.format(column=self.column, old=self.old, new=self.new, thing=thing)

    def told(self, table: Table) -> str:
        """Return what happened and, where it blocks the table, what to write to accept it."""
        if not self.blocks:
            return str(self)
        file = f"sources/{table.source}.yaml"
        if self.kind == "renamed":
            line = f"renamed_from: {in_yaml(self.old)}"
            return f"{self}; to accept it, write '{line}' under {in_yaml(self.new)} in {file}"
        wanted = "evolve" if self.kind == "dropped" else "refresh"
        verb = "shows" if len(self.users) == 1 else "show"
        shown = f", and {', '.join(self.users)} {verb} it" if self.users else ""
        return (
            f"{self}{shown}; to accept it, write 'drift: {{{self.kind}: {wanted}}}' "
            f"under {in_yaml(table.name)} in {file}"
        )


def compare(accepted: Shape | None, current: Shape, table: Table) -> tuple[Change, ...]:
    """Return every difference from the accepted shape to the current one, each with the action it gets.

    There is none for a table that was never loaded.
    """
    if accepted is None:
        return ()
    columns = list(_columns(accepted, current, table))
    found = [*columns, *_whole(accepted, current, columns)]
    return tuple(_with_action(change, table) for change in found)


def _with_action(change: Change, table: Table) -> Change:
    declared = table.columns.get(change.column)
    if change.kind == "renamed" and declared and declared.renamed_from == change.old:
        action = EVOLVE
    else:
        action = dict(table.drift).get(change.kind) or DEFAULT_ACTIONS[change.kind]  # type: ignore[call-overload]
        if change.kind == "key" and table.key and "key" not in table.drift:
            # It is the analysts who declared another one.
            action = REFRESH
    return Change(change.kind, change.column, change.old, change.new, action)


def _change(kind: str, column: str = "", old: str = "", new: str = "") -> Change:
    return Change(kind, column, old, new, "")


def _columns(accepted: Shape, current: Shape, table: Table) -> Iterator[Change]:
    recreated = accepted.oid != current.oid
    matched: set[str] = set()
    for old in accepted.columns:
        new = current.column(old.name) or _renamed(old, accepted, current, table)
        if new is None:
            declared = table.columns.get(old.name)
            if declared and declared.mask == "exclude":
                yield _change("mask", old.name, _masked(old), "excluded")
            else:
                yield _change("dropped", old.name, old.type)
            continue
        matched.add(new.name)
        if new.name != old.name:
            yield _change("renamed", new.name, old.name, new.name)
        elif new.attnum != old.attnum and not recreated:
            yield _change("added_with_default", new.name, "", f"{new.type}, dropped and made anew")
        yield from _column(old, new, recreated=recreated)
    for column in current.columns:
        if column.name not in matched:
            filled = column.default is not None or column.identity or column.not_null
            yield _change("added_with_default" if filled else "added", column.name, "", column.type)


def _renamed(old: Column, accepted: Shape, current: Shape, table: Table) -> Column | None:
    """Return what the column is called now: its number proves it, or the analysts say so."""
    # A table made anew numbers its columns anew, so that only their names tell them apart.
    if accepted.oid == current.oid:
        proved = next((column for column in current.columns if column.attnum == old.attnum), None)
        if proved is not None and accepted.column(proved.name) is None:
            return proved
    for name, declared in table.columns.items():
        if declared.renamed_from == old.name and accepted.column(name) is None:
            return current.column(name)
    return None


def _column(old: Column, new: Column, *, recreated: bool) -> Iterator[Change]:
    if _type_but_labels(old) != _type_but_labels(new):
        yield _change(_kind_of_type_change(old, new), new.name, _typed(old), _typed(new))
    elif relabelled := _relabelled(old, new):
        others = [pair for pair in relabelled if not _only_grew(*pair, recreated=recreated)]
        was, now = (others or relabelled)[0]
        kind = "type" if others else "enum"
        yield _change(kind, new.name, _labelled(old, was), _labelled(new, now))
    elif new.generated and old.default != new.default:
        # What is computed when it is read changes in no row's xmin.
        yield _change("added_with_default", new.name, "", f"{new.type}, computed in another way")
    if old.mask != new.mask:
        yield _change("mask", new.name, _masked(old), _masked(new))
    if old.not_null != new.not_null:
        words = {True: "not null", False: "nullable"}
        yield _change("nullable", new.name, words[old.not_null], words[new.not_null])


def _whole(accepted: Shape, current: Shape, columns: Sequence[Change]) -> Iterator[Change]:
    if accepted.oid != current.oid:
        yield _change("recreated")
    # A column of the key that was renamed is still the same column.
    called = {change.old: change.new for change in columns if change.kind == "renamed"}
    if tuple(called.get(name, name) for name in accepted.key) != current.key:
        yield _change("key", "", ", ".join(accepted.key) or "none", ", ".join(current.key) or "none")
    before, after = set(accepted.partitions), set(current.partitions)
    if before != after and accepted.oid == current.oid:
        came, went = len(after - before), len(before - after)
        yield _change("partition", "", f"{went} went, " if went else "", f"{came} came")
    if accepted.mask_key and current.mask_key and accepted.mask_key != current.mask_key:
        yield _change("mask", "", "hashed with another key", "hashed with the one in Vault now")
    common = [name for name in current.names if accepted.column(name)]
    if common != [name for name in accepted.names if current.column(name)]:
        yield _change("order")


def _relabelled(old: Column, new: Column) -> list[tuple[Type, Type]]:
    """Return the enums, also those deep inside of the column's type, whose labels are others now."""
    pairs = zip(old.full_type.parts(), new.full_type.parts(), strict=True)
    return [(was, now) for was, now in pairs if was.labels != now.labels]


def _only_grew(was: Type, now: Type, *, recreated: bool) -> bool:
    """Whether every label is still there, and still stands for the same rows.

    A label that was renamed is another one in rows that nobody has written since. In a table that was made
    anew the numbers prove nothing.
    """
    called = {} if recreated else dict(zip(now.label_oids, now.labels, strict=True))
    kept = all(
        called.get(oid, label) == label for oid, label in zip(was.label_oids, was.labels, strict=False)
    )
    return kept and set(was.labels) <= set(now.labels)


def _type_but_labels(column: Column) -> tuple[object, ...]:
    made_of = column.user_type and column.user_type.without_labels()
    return (column.type, column.type_class, column.domain_of, made_of, column.as_text)


def _kind_of_type_change(old: Column, new: Column) -> str:
    if old.array != new.array or old.as_text != new.as_text or not (old.built_in and new.built_in):
        return "type"
    if _holds(new, old):
        return "widened"
    return "narrowed" if _holds(old, new) else "type"


def _holds(wide: Column, narrow: Column) -> bool:
    """Whether every value of `narrow` is, unchanged, a value of `wide`."""
    (base, modifiers), (narrow_base, narrow_modifiers) = _parts(wide.type), _parts(narrow.type)
    if base == narrow_base:
        if base == "numeric" and modifiers and narrow_modifiers:
            (precision, scale), (old_precision, old_scale) = modifiers, narrow_modifiers
            return scale >= old_scale and precision - scale >= old_precision - old_scale
        if base in ("character", "bit"):  # padded to their length
            return modifiers == narrow_modifiers
        return not modifiers or (bool(narrow_modifiers) and modifiers >= narrow_modifiers)
    for chain in WIDENING:
        if base in chain and narrow_base in chain and chain.index(base) > chain.index(narrow_base):
            return not modifiers
    return False


def _parts(type_: str) -> tuple[str, tuple[int, ...]]:
    """Return a type's name without its modifiers, and the modifiers.

    >>> _parts("numeric(10,2)[]")
    ('numeric', (10, 2))
    >>> _parts("timestamp(3) without time zone")
    ('timestamp without time zone', (3,))
    >>> _parts("numeric(3,-2)")
    ('numeric', (3, -2))
    """
    before, _, rest = type_.removesuffix("[]").partition("(")
    inside, _, after = rest.partition(")")
    return before + after, tuple(map(int, re.findall(r"-?\d+", inside)))


def _labelled(column: Column, enum: Type) -> str:
    if column.labels:
        return f"{column.type} ({', '.join(column.labels)})"
    return f"{column.type} with {enum.definition()}"


def _typed(column: Column) -> str:
    written = column.user_type.definition() if column.user_type is not None else column.type
    written = f"{column.type} ({', '.join(column.labels)})" if column.labels else written
    # What only an extension knows becomes text where the warehouse has not that extension.
    return f"{written} as text" if column.as_text or not column.full_type.exact else written


def _masked(column: Column) -> str:
    return {None: "loaded as it is", "hash": "hashed", "null": "left empty"}.get(column.mask, "excluded")
