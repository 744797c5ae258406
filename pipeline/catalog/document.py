"""Reads one YAML file into plain values and remembers the line of each."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

Path = tuple[str | int, ...]

_PLAIN_TAGS = {
    f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "timestamp", "map", "seq")
}


@dataclass
class Document:
    """The values of one YAML 1.2 file, the line of each, and what is wrong with the YAML itself."""

    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    # On which line a text begins that is written over several, as after `sql: |`.
    begun: dict[Path, int] = field(default_factory=dict)
    # Pairs of line and text.
    problems: list[tuple[int, str]] = field(default_factory=list)
    # Where those are.
    faulty: set[Path] = field(default_factory=set)

    def untold(self, path: Path) -> bool:
        """Whether no problem was told at `path` or just below it, which may be why the value looks wrong."""
        return all(path not in (faulty, faulty[:-1]) for faulty in self.faulty)

    def line(self, path: Path) -> int:
        """Return the line of the value at `path`, or of the nearest value above it that is in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def line_within(self, path: Path, line: int) -> int:
        """Return the line of the file that is line `line`, from 1, of the text at `path`."""
        return self.begun[path] + line - 1 if path in self.begun else self.line(path)

    def locate(self, location: Sequence[str | int]) -> Path:
        """Return the path in the file that a location of pydantic stands for.

        A location has parts that are not in the file: the tags of unions, "[key]" after a mapping's key, and
        the key that a short form stands for. They are left out; a last part that is not there stays where
        there is a mapping, for it is the key that is missing.
        """
        path: Path = ()
        parts = [part for part in location if part != "[key]"]
        for index, part in enumerate(parts):
            last = index == len(parts) - 1
            if not last and self._is_tag(path, part, parts[index + 1]):
                continue
            missing_key = last and path[-1:] != (part,) and isinstance(self.at(path), dict)
            if (*path, part) in self.lines or missing_key:
                path = (*path, part)
        return path

    def _is_tag(self, path: Path, part: str | int, following: str | int) -> bool:
        """Whether a part is a union's tag that is also a key: what follows stands beside it and not below."""
        return (*path, part, following) not in self.lines and (*path, following) in self.lines

    def at(self, path: Path) -> Any:
        """Return the value at `path`, or None if there is none."""
        value = self.value
        for part in path:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                return None
        return value


def parse(text: str) -> Document:
    """Return the document in `text`. Tags, aliases, duplicate keys and keys that are no text are problems."""
    document = Document()
    reader = YAML(typ="safe", pure=True)
    try:
        node = reader.compose(io.StringIO(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = ": ".join(part for part in (error.context, error.problem) if part)
        advice = 'write "*" in quotes' if "alias" in what else "correct it"
        document.problems.append((mark.line + 1 if mark else 1, f"is not valid YAML: {what}; {advice}"))
    except RecursionError:
        document.problems.append((1, "is nested too deeply; flatten it"))
    except YAMLError as error:
        document.problems.append((1, f"is not valid YAML: {str(error).splitlines()[0]}; correct it"))
    else:
        if node is not None:
            document.value = _Builder(document, reader).build(node, ())
    return document


class _Builder:
    """Turns nodes into plain values; each node only once, so that aliases cannot blow a small file up."""

    def __init__(self, document: Document, reader: YAML) -> None:
        self.document = document
        self.reader = reader
        self.seen: set[int] = set()

    def build(self, node: Node, path: Path) -> Any:
        line = node.start_mark.line + 1
        self.document.lines.setdefault(path, line)
        if id(node) in self.seen:
            self._add_problem(
                line, path, "aliases (*name) are not supported; write the value out, or use defaults"
            )
            return None
        self.seen.add(id(node))
        if str(node.tag) not in _PLAIN_TAGS:
            self._add_problem(line, path, f"the tag {node.tag} is not supported; remove it")
            return None
        match node:
            case MappingNode():
                return self._mapping(node, path)
            case SequenceNode():
                return [self.build(child, (*path, index)) for index, child in enumerate(node.value)]
            case ScalarNode():
                return self._scalar(node, path)
            case _:
                raise TypeError(f"YAML has no other nodes, but here is {node!r}")

    def _mapping(self, node: MappingNode, path: Path) -> Mapping[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = key_node.value if isinstance(key_node, ScalarNode) else None
            if not isinstance(key, str) or not str(key_node.tag).endswith(":str"):
                self._add_problem(line, path, f"the key {key or 'here'} is not text; write it in quotes")
            elif key in values:
                self._add_problem(line, (*path, key), "is given twice; keep one")
            else:
                self.document.lines[*path, key] = line
                values[key] = self.build(value_node, (*path, key))
        return values

    def _scalar(self, node: ScalarNode, path: Path) -> Any:
        if node.style == "|":
            self.document.begun[path] = node.start_mark.line + 2
        try:
            return self.reader.constructor.construct_object(node)
        except (YAMLError, ValueError):
            self._add_problem(
                node.start_mark.line + 1, path, f"{node.value} cannot be read; correct it or quote it"
            )
            return None

    def _add_problem(self, line: int, path: Path, what: str) -> None:
        self.document.problems.append((line, f"{dotted(path)}: {what}" if path else what))
        self.document.faulty.add(path)


def dotted(path: Path) -> str:
    """Return a path as people write it.

    >>> dotted(("tables", "employee", "checks", 0, "rows"))
    'tables.employee.checks[0].rows'
    """
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
