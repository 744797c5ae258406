"""Retyped: how a column's type, or the labels of its enums, differ from what they were."""

import re
from collections.abc import Sequence

from pipeline.catalog import DriftKind
from pipeline.warehouse.definitions import Type
from pipeline.warehouse.shape import Column

# The types whose every value another type holds too, from the narrowest to the widest.
WIDENING: Sequence[Sequence[str]] = (
    ("smallint", "integer", "bigint", "numeric"),
    ("real", "double precision"),
    ("character varying", "text"),
)


def relabelled(old: Column, new: Column) -> list[tuple[Type, Type]]:
    """Return the enums, also those deep inside of the column's type, whose labels are others now."""
    pairs = zip(old.full_type.parts(), new.full_type.parts(), strict=True)
    return [(was, now) for was, now in pairs if was.labels != now.labels]


def only_grew(was: Type, now: Type, *, recreated: bool) -> bool:
    """Whether every label is still there, and still stands for the same rows.

    A label that was renamed is another one in rows that nobody has written since. In a table that was made
    anew the numbers prove nothing.
    """
    called = {} if recreated else dict(zip(now.label_oids, now.labels, strict=True))
    kept = all(
        called.get(oid, label) == label for oid, label in zip(was.label_oids, was.labels, strict=False)
    )
    return kept and set(was.labels) <= set(now.labels)


def recreated_attributes(old: Column, new: Column) -> list[str]:
    """Return the attributes, also those deep inside of a column's type, that were dropped and created again.

    That empties them in every row, and writes none. Both columns are those of one table.
    """
    if old.user_type is None or type_but_labels(old) != type_but_labels(new):
        return []
    pairs = zip(old.full_type.parts(), new.full_type.parts(), strict=True)
    recreated = [
        f'"{after.name}" of {now.written}'
        for was, now in pairs
        for before, after in zip(was.attributes, now.attributes, strict=True)
        if before.attnum is not None and before.attnum != after.attnum
    ]
    # A type may be there more than once.
    return list(dict.fromkeys(recreated))


def type_but_labels(column: Column) -> tuple[object, ...]:
    made_of = column.user_type and column.user_type.without_labels()
    return (column.type, column.type_class, column.domain_of, made_of, column.as_text)


def kind(old: Column, new: Column) -> DriftKind:
    if old.array != new.array or old.as_text != new.as_text or not (old.built_in and new.built_in):
        return DriftKind.TYPE
    if _holds(new, old):
        return DriftKind.WIDENED
    return DriftKind.NARROWED if _holds(old, new) else DriftKind.TYPE


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


def labelled(column: Column, enum: Type) -> str:
    if column.labels:
        return f"{column.type} ({', '.join(column.labels)})"
    return f"{column.type} with {enum.definition()}"


def typed(column: Column) -> str:
    written = column.user_type.definition() if column.user_type is not None else column.type
    written = f"{column.type} ({', '.join(column.labels)})" if column.labels else written
    # What only an extension knows becomes text where the warehouse has not that extension.
    return f"{written} as text" if column.as_text or not column.full_type.exact else written
