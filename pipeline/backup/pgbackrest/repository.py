"""What the repository of pgBackRest has of one server (a stanza), as pgBackRest itself says."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from pipeline.backup.pgbackrest import program
from pipeline.errors import StepError
from pipeline.settings.sections import PgBackRestSettings

# The name of a WAL segment begins with its timeline and the number of its file: the folder that it is in.
FOLDER = 16

T = TypeVar("T")


@dataclass(frozen=True)
class Stored:
    """One backup: `kind` is full, diff or incr; `size_bytes` that of the server; `end` its last LSN.

    `is_damaged`: pages in it did not have the checksum that they should have. `repo` is the number of the
    repository that it is in.
    """

    label: str
    kind: str
    taken_at: datetime
    size_bytes: int
    end: str
    is_damaged: bool
    repo: int = 1


@dataclass(frozen=True)
class Repository:
    """What there is of a server: its newest backup and its newest WAL segment, None where there is none.

    `system_identifier` and `version` are those of the server, `archived_at` when the segment was put there.
    `problem` is what pgBackRest says is wrong with it. `repos` are the numbers of all repositories that its
    file names: the newest of each kind may be in any of them.
    """

    stanza: str
    problem: str | None = None
    system_identifier: str | None = None
    version: str | None = None
    backup: Stored | None = None
    wal: str | None = None
    archived_at: datetime | None = None
    repos: tuple[int, ...] = ()


class _Status(BaseModel):
    code: int
    message: str


class _Repo(BaseModel):
    key: int
    status: _Status


class _Of(BaseModel):
    id: int
    # Of before there could be more than one.
    key: int = Field(default=1, alias="repo-key")


class _Server(_Of):
    system: int = Field(alias="system-id")
    version: str


class _Archive(BaseModel):
    id: str
    database: _Of
    max: str | None = None


class _Lsn(BaseModel):
    stop: str | None = None


class _Size(BaseModel):
    size: int


class _Times(BaseModel):
    stop: int


class _Backup(BaseModel):
    label: str
    type: str
    database: _Of
    info: _Size
    timestamp: _Times
    lsn: _Lsn = _Lsn()
    error: bool | None = None


class _Stanza(BaseModel):
    archive: tuple[_Archive, ...] = ()
    backup: tuple[_Backup, ...] = ()
    db: tuple[_Server, ...] = ()
    repo: tuple[_Repo, ...] = ()
    status: _Status


class _File(BaseModel):
    time: int | None = None


def read(settings: PgBackRestSettings, stanza: str) -> Repository:
    """Return what the repository has of a stanza.

    Raise StepError if pgBackRest is not installed or not understood, UnreachableError if it fails.
    """
    answer = program.ask(settings, stanza, "info", "--output=json")
    entry = _understood(TypeAdapter(tuple[_Stanza]), answer, stanza)[0]
    problem = _problem(entry)
    if not entry.db:
        return Repository(stanza, problem)
    # A server that was upgraded, or made anew, has another number: what is there of the old one is history.
    current = max(entry.db, key=lambda one: one.id)
    numbers = {(one.key, one.id) for one in entry.db if one.system == current.system}
    backups = [one for one in entry.backup if (one.database.key, one.database.id) in numbers]
    archives = [one for one in entry.archive if (one.database.key, one.database.id) in numbers and one.max]
    newest = max(backups, key=lambda one: one.timestamp.stop, default=None)
    last = max(archives, key=lambda one: one.max or "", default=None)
    return Repository(
        stanza,
        problem,
        str(current.system),
        current.version,
        _stored(newest) if newest else None,
        last.max if last else None,
        _archived_at(settings, stanza, last) if last else None,
        tuple(sorted(one.key for one in entry.repo)),
    )


def _problem(entry: _Stanza) -> str | None:
    if entry.status.code == 0:
        return None
    each = [f"repo{one.key}: {one.status.message}" for one in entry.repo if one.status.code]
    return "; ".join(each) or entry.status.message


def _stored(backup: _Backup) -> Stored:
    return Stored(
        backup.label,
        backup.type,
        datetime.fromtimestamp(backup.timestamp.stop, UTC),
        backup.info.size,
        backup.lsn.stop or "",
        bool(backup.error),
        backup.database.key,
    )


def _archived_at(settings: PgBackRestSettings, stanza: str, archive: _Archive) -> datetime | None:
    """Return when the newest segment was put there: `info` has its name alone."""
    name = archive.max or ""
    folder = f"archive/{stanza}/{archive.id}/{name[:FOLDER]}"
    options = (f"--repo={archive.database.key}", "--output=json", f"--filter=^{name}-")
    answer = program.ask(settings, stanza, "repo-ls", *options, folder)
    files: Mapping[str, _File] = _understood(TypeAdapter(Mapping[str, _File]), answer, stanza)
    return _latest(one.time for one in files.values())


def _latest(times: Iterable[int | None]) -> datetime | None:
    known = [one for one in times if one is not None]
    return datetime.fromtimestamp(max(known), UTC) if known else None


def _understood(kind: TypeAdapter[T], answer: str, stanza: str) -> T:
    try:
        return kind.validate_json(answer)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(key) for key in first["loc"])
        raise StepError(
            f"pgBackRest, stanza {stanza}: its output has an unexpected form ({place}: {first['msg']})",
            hint="check 'pgbackrest version' here; 2.45 and later were tried",
            retryable=False,
        ) from None
