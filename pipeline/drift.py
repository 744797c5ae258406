"""Drift: how a table differs from the shape in which it was last loaded, and what is done about it."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.shape import Column, Shape

EVOLVE, REFRESH, IGNORE, BLOCK = "evolve", "refresh", "ignore", "block"

# What a careful engineer would do: take in what cannot lose anything, stop for what can.
DEFAULT_ACTIONS: Mapping[str, str] = {
    "added": EVOLVE,
    "added_with_default": REFRESH,
    "enum": EVOLVE,
    "nullable": IGNORE,
    "recreated": REFRESH,
    "dropped": BLOCK,
    "renamed": BLOCK,
    "type": BLOCK,
    "key": BLOCK,
}


@dataclass(frozen=True)
class Change:
    """One difference. `old` and `new` say what it was and is, in words for a person."""

    kind: str
    column: str
    old: str
    new: str
    action: str

    def __str__(self) -> str:
        if self.kind.startswith("added"):
            return f'column "{self.column}" ({self.new}) is new in the source'
        if self.kind == "dropped":
            return f'column "{self.column}" ({self.old}) is gone from the source'
        if self.kind == "renamed":
            return f'column "{self.old}" was renamed to "{self.new}" in the source'
        if self.kind == "key":
            return f"the key was ({self.old}) and is ({self.new}) now"
        if self.kind == "recreated":
            return "the table was dropped and made anew in the source"
        return f'column "{self.column}" was {self.old} and is {self.new} now'


def compare(accepted: Shape | None, current: Shape) -> tuple[Change, ...]:
    """Return every difference from the accepted shape to the current one; none for a table never loaded."""
    if accepted is None:
        return ()
    changes = [_change("recreated", "", "", "")] if accepted.oid != current.oid else []
    # A table made anew numbers its columns anew, so that only their names tell them apart.
    by_number = {} if changes else {column.attnum: column for column in current.columns}
    matched = set()
    for old in accepted.columns:
        new = current.column(old.name)
        if new is None and (renamed := by_number.get(old.attnum)) and accepted.column(renamed.name) is None:
            changes.append(_change("renamed", renamed.name, old.name, renamed.name))
            matched.add(renamed.name)
        elif new is None:
            changes.append(_change("dropped", old.name, old.type, ""))
        else:
            changes.extend(_column_changes(old, new))
    for column in current.columns:
        if accepted.column(column.name) is None and column.name not in matched:
            kind = "added_with_default" if column.default or column.identity or column.not_null else "added"
            changes.append(_change(kind, column.name, "", column.type))
    if accepted.key != current.key:
        changes.append(_change("key", "", ", ".join(accepted.key), ", ".join(current.key)))
    return tuple(changes)


def _column_changes(old: Column, new: Column) -> list[Change]:
    changes = []
    if (old.type, old.type_class, old.domain_of) != (new.type, new.type_class, new.domain_of):
        changes.append(_change("type", new.name, old.type, new.type))
    if old.labels != new.labels:
        grown = set(old.labels) <= set(new.labels)
        changes.append(_change("enum" if grown else "type", new.name, _labels(old), _labels(new)))
    if old.not_null != new.not_null:
        words = {True: "not null", False: "nullable"}
        changes.append(_change("nullable", new.name, words[old.not_null], words[new.not_null]))
    return changes


def _labels(column: Column) -> str:
    return f"{column.type} ({', '.join(column.labels)})"


def _change(kind: str, column: str, old: str, new: str) -> Change:
    return Change(kind, column, old, new, DEFAULT_ACTIONS[kind])
