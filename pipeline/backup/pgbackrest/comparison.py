"""A repository against the server that it should be of: two that know nothing of each other."""

import re
from dataclasses import dataclass

from pipeline import postgres
from pipeline.backup.pgbackrest.repository import Repository
from pipeline.postgres import Connection

# What is archived besides has another name: a timeline's history, the label of a backup.
_SEGMENT = re.compile(r"[0-9A-F]{24}")


@dataclass(frozen=True)
class Server:
    """A server, as it says itself; `archived` is the newest file of WAL that it has handed to its archive."""

    system_identifier: str
    major: int
    archived: str | None


def server(connection: Connection) -> Server:
    """Return which server this is."""
    return postgres.read(connection, postgres.statement("backup/server"), Server)[0]


def problems(database: str, of: Server, repository: Repository) -> list[str]:
    """Return in what a repository that was read after the server is not what the server's should be."""
    stanza = repository.stanza
    if repository.problem:
        return [f"stanza {stanza}: {repository.problem}; see 'pgbackrest --stanza={stanza} info'"]
    if repository.system_identifier != of.system_identifier:
        return [
            f"stanza {stanza} belongs to another server: its system identifier is "
            f"{repository.system_identifier}, and the server of {database} has {of.system_identifier}; "
            f"correct [database.{database}] pgbackrest, or upgrade the stanza"
        ]
    wrong = []
    if repository.backup is None:
        wrong.append(f"stanza {stanza} has no backup of this server; make one")
    if _lacks(of.archived, repository.wal):
        wrong.append(
            f"the server archived {of.archived}, and the newest WAL in stanza {stanza} is "
            f"{repository.wal or 'missing'}; check where its archive_command or archive_library writes"
        )
    return wrong


def _lacks(archived: str | None, wal: str | None) -> bool:
    """Whether a repository lacks what was archived.

    >>> _lacks("000000010000000000000007", "000000010000000000000006")
    True
    >>> _lacks("000000010000000000000007", "00000002000000000000000A"), _lacks("00000002.history", None)
    (False, False)
    """
    return archived is not None and _SEGMENT.fullmatch(archived) is not None and archived > (wal or "")
