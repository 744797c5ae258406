"""Privileges that were passed on by who had got them WITH GRANT OPTION: pg_restore grants them as only a
superuser may (SET SESSION AUTHORIZATION); here a member of those roles does it. Each privilege is granted by
who granted it: of a member of several the server takes any that may, and so another one, or none.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline import postgres
from pipeline.backup.restoring import toc
from pipeline.backup.restoring.toc import Entry
from pipeline.backup.tools import Tool
from pipeline.postgres import Connection
from pipeline.system import command

PRIVILEGES = ("ACL ", "DEFAULT ACL ")
# What pg_restore brings after them, for what it does may need them.
AFTERWARDS = (
    "EVENT TRIGGER ",
    "MATERIALIZED VIEW DATA ",
    "COMMENT - EVENT TRIGGER ",
    "SECURITY LABEL - EVENT TRIGGER ",
)
AS_ANOTHER = re.compile(r"^SET SESSION AUTHORIZATION (?!DEFAULT)", re.MULTILINE)
AS_OWNER = re.compile(r"^RESET SESSION AUTHORIZATION;$")
PASSED_ON = re.compile(r" WITH GRANT OPTION;$", re.MULTILINE)
# What pg_restore writes before each entry.
ENTRY_OF = re.compile(r"^-- Name: .*; Type: (?:DEFAULT )?ACL; Schema: .*; Owner: (.+)$")
# The text comes by a connection that has its own.
ENCODING = re.compile(r"^SET client_encoding = .*$", re.MULTILINE)
# Of psql, which this is not for.
PSQL = re.compile(r"^\\(un)?restrict .*$", re.MULTILINE)


def in_sections(entries: Sequence[Entry]) -> tuple[list[Entry], list[Entry], list[Entry]]:
    """Return what comes before privileges, these, and what comes afterwards, as pg_restore has it."""
    privileges = [one for one in entries if one.text.startswith(PRIVILEGES)]
    afterwards = [one for one in entries if one.text.startswith(AFTERWARDS)]
    rest = [one for one in entries if not one.text.startswith((*PRIVILEGES, *AFTERWARDS))]
    return rest, privileges, afterwards


def script(pg_restore: Tool, dump: Path, privileges: list[Entry], encoding: str) -> str | None:
    """Return these privileges as SQL for a member of all roles, None if pg_restore can grant them all.

    `encoding` is that of the database that was dumped.
    """
    if not privileges:
        return None
    chosen = dump.with_suffix(".privileges")
    toc.write(privileges, chosen)
    text = command.run(
        [pg_restore.path, "--file=-", f"--use-list={chosen}", dump],
        environment=command.clean_environment({}),
        codec=postgres.codec(encoding),
    )
    if not AS_ANOTHER.search(text) and not PASSED_ON.search(text):
        return None
    return "\n".join(_as_granted(PSQL.sub("", ENCODING.sub("", text))))


def _as_granted(text: str) -> Iterator[str]:
    owner = "RESET ROLE;"
    for line in text.split("\n"):
        if match := ENTRY_OF.match(line):
            escaped = match[1].replace('"', '""')
            owner = f'SET ROLE "{escaped}";'
            yield owner
        elif AS_OWNER.match(line):
            yield owner
        else:
            yield AS_ANOTHER.sub("SET ROLE ", line)
    yield "RESET ROLE;"


def grant(connection: Connection, text: str) -> None:
    """Run what `script` returned, all of it or nothing."""
    with postgres.explained("the privileges"):
        postgres.rows(connection, text)
