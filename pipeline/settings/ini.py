"""Reads INI files as Luigi does, but raw, and remembers the file and line of every key."""

import configparser
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_REFERENCE = re.compile(r"\$\{([^}]*)\}")


@dataclass(frozen=True)
class Entry:
    """One value as it is written, and the place where that was done."""

    value: str
    path: Path
    line: int

    @property
    def place(self) -> str:
        return f"{self.path}:{self.line}"


@dataclass
class Section:
    """The keys of one section, merged over all files, and the place where it was last opened."""

    place: str
    entries: dict[str, Entry] = field(default_factory=dict)


def read(paths: Sequence[Path], problems: list[str]) -> dict[str, Section]:
    """Return the sections of all files, where a later file's keys replace an earlier one's.

    What cannot be read or parsed is added to `problems`, one line each.
    """
    sections: dict[str, Section] = {}
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            problems.append(f"{path}: cannot be read: {error.strerror}; fix the file or its permissions")
        except UnicodeDecodeError:
            problems.append(f"{path}: is not UTF-8 text; save it as UTF-8")
        else:
            _read_text(path, text, sections, problems)
    return sections


def expand(value: str, environment: Mapping[str, str]) -> tuple[str, list[str]]:
    """Return `value` with each `${NAME}` taken from `environment`, and the names that are not set there."""
    missing = [name for name in _REFERENCE.findall(value) if name not in environment]
    return _REFERENCE.sub(lambda match: environment.get(match[1], ""), value), missing


def _read_text(path: Path, text: str, sections: dict[str, Section], problems: list[str]) -> None:
    lines = text.splitlines(keepends=True)
    parser = _LineParser()
    try:
        parser.read_file(parser.counted(lines), source=str(path))
    except configparser.Error as error:
        problems.extend(_syntax_problems(path, error))
        return
    for name in [*parser.sections(), *([parser.default_section] if parser.defaults() else [])]:
        section = sections.setdefault(name, Section(place=""))
        section.place = f"{path}:{parser.section_lines.get(name, 1)}"
        for key, value in parser.items(name):
            line = parser.key_lines.get((name, key))
            if line is not None:  # else it came from [DEFAULT], which is Luigi's
                section.entries[key] = Entry(value, path, line)


class _LineParser(configparser.RawConfigParser):
    """A parser that asks for the name of each key while its line is the current one."""

    def __init__(self) -> None:
        super().__init__(strict=True, interpolation=None)
        self.key_lines: dict[tuple[str, str], int] = {}
        self.section_lines: dict[str, int] = {}
        self._line = 0
        self._opened = ""
        self._counting = False

    def counted(self, lines: Sequence[str]) -> Iterator[str]:
        self._counting = True
        for number, line in enumerate(lines, start=1):
            self._line = number
            if (match := self.SECTCRE.match(line.strip())) and not line[0].isspace():
                self._opened = match["header"]
                self.section_lines.setdefault(self._opened, number)
            yield line
        self._counting = False

    def optionxform(self, optionstr: str) -> str:
        if self._counting:
            self.key_lines.setdefault((self._opened, optionstr), self._line)
        return optionstr


def _syntax_problems(path: Path, error: configparser.Error) -> list[str]:
    # The library's own text repeats the faulty line, which may hold a credential.
    match error:
        case configparser.DuplicateOptionError(lineno=line, section=section, option=key):
            return [f"{path}:{line}: [{section}] {key}: is given twice; keep one"]
        case configparser.DuplicateSectionError(lineno=line, section=section):
            return [f"{path}:{line}: [{section}] is given twice; join them into one"]
        case configparser.MissingSectionHeaderError(lineno=line):
            return [f"{path}:{line}: comes before any [section]; put it into one"]
        case configparser.ParsingError(errors=faulty):
            return [
                f"{path}:{line}: is not a 'key = value' line; fix or remove the line" for line, _ in faulty
            ]
        case _:
            return [f"{path}: is not an INI file; fix it"]
