"""Trouble: why a branch could not be fetched, told apart by who can fix it.

What git and ssh say is shown, and never searched: once git has failed, it is asked what is so. Whether this
machine can keep anything, whether the server is known, answers and takes our login, has the branch.
"""

import errno
import mmap
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import PipelineError, StepError, UnreachableError
from pipeline.git import probes
from pipeline.git.address import HTTPS, SSH, LoginError, transport
from pipeline.git.probes import Answer
from pipeline.redact import redact
from pipeline.system import room

# What any fetch needs of memory, at least.
PROBE_MEMORY_BYTES = 64 * 1024 * 1024
# As `git ls-remote --exit-code` ends where the server has no such branch.
NO_BRANCH = 2
# Where git writes, in its folder.
PACKS = Path("objects") / "pack"
PLACES = (Path(), PACKS, Path("refs") / "sync")


class MachineError(StepError):
    """This machine cannot do it: a program is missing, hangs or is ended, a disk is full or closed to us."""


class ContentError(StepError):
    """What the repository has is refused: it is damaged, or too large."""

    retryable = False


class GitError(MachineError):
    """A command of git's failed. `status` is its exit code, or -N for signal N; None if it took too long."""

    status: int | None = None


@dataclass(frozen=True)
class Fetch:
    """A fetch that failed: of what, by which login, and where to.

    `speaks` has the command by which git speaks ssh. No file there may have more than `largest_bytes`. `ask`
    asks the server for the branch alone, and raises GitError where git fails.
    """

    url: str
    branch: str
    folder: Path
    largest_bytes: int
    token: str | None
    speaks: Mapping[str, str]
    ask: Callable[[], object]


@dataclass(frozen=True)
class _Kind:
    """One kind of trouble: what is wrong, the error by which it is told to whom, and the way out."""

    error: type[PipelineError]
    fact: str
    hint: str


_ROOM = "free some space in the parent folder of [analysts] checkout"
_WRITE = "let the pipeline's user write to the parent folder of [analysts] checkout"
_MEMORY = "find out what uses this machine's memory, and run the command again"
_MACHINE: Mapping[int, str] = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EROFS: _WRITE,
    errno.EACCES: _WRITE,
    errno.EPERM: _WRITE,
    errno.ENOMEM: _MEMORY,
}
_TOO_LARGE = _Kind(
    ContentError,
    "{url}: its newest commit is larger than may be fetched",
    "remove the large files, from its newest commit at least",
)
_NO_BRANCH = _Kind(
    UnreachableError, "{url} has no branch {branch}", "push it, or name another in [analysts] branch"
)
# The server was asked for the branch, and has it.
_DAMAGED = _Kind(
    ContentError,
    "{url} has that branch, but the data that it sends is damaged or incomplete",
    "run 'pipeline sync' again; if that fails again, find the damage with 'git fsck' in a clone, and "
    "push again",
)
_AWAY = _Kind(
    UnreachableError, "{url} is out of reach", "check whether its server can be reached from this machine"
)
_ANSWERS: Mapping[Answer, _Kind] = {
    Answer.NONE: _AWAY,
    Answer.STRANGE_KEY: _Kind(
        LoginError,
        "the server at {url} has a key that is not in known_hosts",
        "find out why before you change known_hosts in Vault: somebody may be intercepting the connection",
    ),
    Answer.REFUSES: _Kind(
        LoginError,
        "{url} refuses our login",
        "let the token or key of [analysts] secret in Vault read that repository, or write another there",
    ),
    Answer.ANOTHERS: _Kind(
        UnreachableError,
        "{url} belongs to another user than the pipeline's, and git does not read it",
        "give it to the pipeline's user, or serve it by https or ssh",
    ),
    Answer.NO_REPOSITORY: _Kind(
        UnreachableError,
        "there is no repository at {url}, or the login has no access to it",
        "correct [analysts] repository in luigi.cfg, or let the login read it",
    ),
    Answer.UNTRUSTED: _Kind(
        UnreachableError,
        "the certificate of {url} is not trusted",
        "install its authority's certificate on this machine, or have the server's certificate fixed",
    ),
}


def of_fetch(failed: Fetch, error: GitError) -> PipelineError:
    """Return what kept a branch from being fetched, with what to do about it. It takes some seconds."""
    kind = _of_machine(failed, error) or _of_server(failed, error)
    fact = kind.fact.format(url=redact(failed.url), branch=failed.branch)
    return kind.error(f"{fact}: branch {failed.branch} cannot be fetched: {error.fact}", hint=kind.hint)


def _of_machine(failed: Fetch, error: GitError) -> _Kind | None:
    """Return what keeps this machine from fetching anything, or that commit; None if nothing does."""
    packs = (failed.folder / PACKS).glob("tmp_pack_*")
    if error.status == -signal.SIGXFSZ or any(p.stat().st_size >= failed.largest_bytes for p in packs):
        return _TOO_LARGE
    fact = "this machine cannot store the contents of {url}"
    if error.status is not None and error.status < 0:
        return _Kind(MachineError, fact, _MEMORY)
    places = [failed.folder / place for place in PLACES if (failed.folder / place).exists()]
    lacking = next(filter(None, map(room.lacking, places)), None) or _lacking_memory()
    if lacking is None:
        return None
    hint = _MACHINE.get(lacking.errno or 0, "find the cause on this machine, and run the command again")
    return _Kind(MachineError, f"{fact} ({lacking.strerror})", hint)


def _lacking_memory() -> OSError | None:
    try:
        mmap.mmap(-1, PROBE_MEMORY_BYTES).close()
    except OSError as error:
        return error
    return None


def _of_server(failed: Fetch, error: GitError) -> _Kind:
    """Return what is wrong with the server, our login there, or what it has."""
    if error.status is None:
        return _AWAY
    try:
        failed.ask()
    except GitError as answer:
        if answer.status == NO_BRANCH:
            return _NO_BRANCH
    else:
        return _DAMAGED
    way = transport(failed.url)
    if way == HTTPS:
        return _ANSWERS[probes.by_https(failed.url, failed.token)]
    if way == SSH:
        return _ANSWERS[probes.by_ssh(failed.url, failed.speaks)]
    return _ANSWERS[probes.by_path(failed.url)] if way in ("", "file") else _AWAY
