"""The table of contents of a dump: which of its entries are restored, when that is not all of them."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from pipeline import postgres
from pipeline.backup.tools import Tool
from pipeline.errors import UsageError
from pipeline.names import advice
from pipeline.system import command

ENTRY = re.compile(r"(\d+); \d+ \d+ (.*)")
DEPENDS = re.compile(r";\s+depends on: ([\d ]+)")
DEFAULT_PRIVILEGES = re.compile(r"DEFAULT ACL \S+ DEFAULT PRIVILEGES FOR \w+ (.+)")
EXTENSION_COMMENT = re.compile(r"COMMENT - EXTENSION (\S+)")
TABLE = re.compile(r"TABLE (?!DATA |ATTACH )(.+) \S+")
# What belongs to a table, beside its definition; foreign keys and triggers would need other tables.
PARTS = (
    "TABLE DATA ",
    "TABLE ATTACH ",
    "DEFAULT ",
    "SEQUENCE ",
    "SEQUENCE OWNED BY ",
    "SEQUENCE SET ",
    "CONSTRAINT ",
    "CHECK CONSTRAINT ",
    "INDEX ",
    "INDEX ATTACH ",
    "STATISTICS ",
    "COMMENT ",
    "ACL ",
    "ROW SECURITY ",
    "POLICY ",
)


@dataclass(frozen=True)
class Entry:
    """One entry: its number, its line from the kind on, and the entries that must come before it."""

    number: int
    text: str
    depends_on: frozenset[int]

    @property
    def table(self) -> str | None:
        """Return the table that it defines, as `schema name`; None if it is anything else."""
        match = TABLE.fullmatch(self.text)
        return match[1] if match else None


def read(pg_restore: Tool, dump: Path, encoding: str) -> list[Entry]:
    """Return the entries of a dump in its order. Raise StepError if it is none.

    `encoding` is that of its database, and so of all names in it.
    """
    listing = command.run(
        [pg_restore.path, "--list", "--verbose", dump],
        environment=command.clean_environment({}),
        codec=postgres.codec(encoding),
    )
    entries: list[Entry] = []
    for line in listing.splitlines():
        if match := ENTRY.match(line):
            entries.append(Entry(int(match[1]), match[2], frozenset()))
        elif entries and (match := DEPENDS.match(line)):
            last = entries.pop()
            numbers = frozenset(int(number) for number in match[1].split())
            entries.append(Entry(last.number, last.text, numbers))
    return entries


def without_foreign(
    entries: list[Entry], foreign: Collection[str], extensions: Collection[str]
) -> tuple[list[Entry], list[str]]:
    """Leave out what only somebody else may restore, and return the rest with remarks on that.

    `foreign` are the roles that our login cannot act as, `extensions` those that others made there.
    """
    kept, remarks = [], []
    for entry in entries:
        privileges, comment = DEFAULT_PRIVILEGES.match(entry.text), EXTENSION_COMMENT.match(entry.text)
        if privileges and privileges[1] in foreign:
            remarks.append(f"left out: default privileges for objects that {privileges[1]} will create")
        elif not (comment and comment[1] in extensions):
            kept.append(entry)
    return kept, list(dict.fromkeys(remarks))


def of_table(entries: list[Entry], name: str, there: Collection[str]) -> list[Entry]:
    """Return the entries of one table (schema.name), with its partitions and what all these need.

    `there` are schemas and types that the target has already. Raise UsageError if there is no such table.
    """
    by_number = {entry.number: entry for entry in entries}
    # A name may hold spaces and points itself; an owner's name with a space is not provided for.
    wanted = {entry.number for entry in entries if entry.table == name.replace(".", " ", 1)}
    if not wanted:
        known = sorted(entry.table.replace(" ", ".", 1) for entry in entries if entry.table)
        raise UsageError(f"the backup has no table {name}; {advice(name, known)}")
    while True:
        tables = {number for number in wanted if by_number[number].table}
        sequences = {number for number in wanted if by_number[number].text.startswith("SEQUENCE ")}
        more = {
            entry.number
            for entry in entries
            if entry.depends_on & (tables | sequences) and entry.text.startswith(PARTS)
        }
        needed = {
            number for one in wanted | more for number in by_number[one].depends_on if number in by_number
        }
        if wanted >= more | needed:
            break
        wanted |= more | needed
    settings = {
        entry.number for entry in entries if re.match(r"(ENCODING|STDSTRINGS|SEARCHPATH) ", entry.text)
    }
    return [
        entry for entry in entries if entry.number in wanted | settings and not _is_there(entry.text, there)
    ]


def _is_there(text: str, there: Collection[str]) -> bool:
    """Whether the target has it already: `SCHEMA - app owner`, `TYPE public mood owner`."""
    match = re.match(r"(SCHEMA|TYPE|DOMAIN|EXTENSION|SEQUENCE|FUNCTION) (\S+) ([^\s(]+)", text)
    if not match:
        return bool(re.match(r"(ACL|COMMENT) - (SCHEMA|DATABASE) ", text))
    return f"{match[1]} {match[3]}" in there or f"{match[1]} {match[2]}.{match[3]}" in there


def write(entries: list[Entry], path: Path) -> None:
    """Write a list for pg_restore --use-list, which reads the numbers of it."""
    text = "".join(f"{entry.number}; 0 0 {entry.text}\n" for entry in entries)
    path.write_bytes(text.encode(errors="backslashreplace"))
