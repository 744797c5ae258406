"""Trouble: why git did not do what it was to, told apart by who can fix it, from what it or ssh said."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import PipelineError, StepError, UnreachableError
from pipeline.git.address import LoginError
from pipeline.redact import redact


class MachineError(StepError):
    """This machine cannot do it: a program is missing, hangs or is ended, a disk is full or closed to us."""


class ContentError(StepError):
    """What the repository has is refused: it is damaged, or too large."""

    retryable = False


class GitError(MachineError):
    """A command of git's failed. `output` is all that it wrote, with nothing taken out."""

    output = ""


@dataclass(frozen=True)
class _Kind:
    """What is said in one kind of trouble, of whom it is told, and the way out."""

    output: str
    error: type[PipelineError]
    fact: str
    hint: str


_MACHINE = "this machine cannot keep the contents of {url}"
# git says the same in each of these, at the end: the first that fits counts.
_KINDS: Sequence[_Kind] = (
    _Kind(
        r"No space left on device|Disk quota exceeded",
        MachineError,
        _MACHINE,
        "free some room for the folder beside [analysts] checkout",
    ),
    _Kind(
        r"Read-only file system|insufficient permission for adding|unable to (?:create|write|open)\b.*denied",
        MachineError,
        _MACHINE,
        "let the pipeline's user write to the folder beside [analysts] checkout",
    ),
    _Kind(
        r"Cannot allocate memory|Out of memory|Resource temporarily unavailable",
        MachineError,
        _MACHINE,
        "find out what uses this machine's memory, and run the command again",
    ),
    _Kind(
        r"Host key verification failed",
        LoginError,
        "the server at {url} has a key that is not among the known ones",
        "find out why before known_hosts in Vault is changed: somebody may be in between",
    ),
    _Kind(
        r"Permission denied \(|Authentication failed|could not read (?:Username|Password)|error: 40[13]\b"
        r"|Access denied|access denied",
        LoginError,
        "{url} refuses our login",
        "let the token or key of [analysts] secret in Vault read that repository, or write another there",
    ),
    _Kind(
        r"dubious ownership",
        UnreachableError,
        "{url} belongs to another user than the pipeline's, and git does not read it",
        "give it to the pipeline's user, or serve it by https or ssh",
    ),
    _Kind(
        r"[Rr]epository .*not found|error: 404\b|does not appear to be a git repository|does not exist",
        UnreachableError,
        "there is no repository at {url}, or the login may not see it",
        "correct [analysts] repository in luigi.cfg, or let the login read it",
    ),
    _Kind(
        r"couldn't find remote ref",
        UnreachableError,
        "{url} has no branch {branch}",
        "push it, or name another in [analysts] branch",
    ),
    _Kind(
        r"[Cc]ertificate",
        UnreachableError,
        "the certificate of {url} is not trusted",
        "install its authority's on this machine, or have the server's fixed",
    ),
    _Kind(
        r"signal 25",
        ContentError,
        "{url}: its newest commit is larger than may be fetched",
        "remove the large files, from its newest commit at least",
    ),
    _Kind(
        r"fsck|index-pack|unpack-objects|bad object|did not send all necessary objects",
        ContentError,
        "{url}: git finds it damaged",
        "find the damage with 'git fsck' in a clone, and push again",
    ),
)
_OTHERWISE = _Kind(
    "", UnreachableError, "{url} is out of reach", "see whether its server answers from this machine"
)


def of_fetch(url: str, branch: str, error: GitError) -> PipelineError:
    """Return what kept a branch from being fetched, with what to do about it."""
    # What is in its name is no reason.
    output = error.output.replace(url, "")
    known = next((kind for kind in _KINDS if re.search(kind.output, output)), _OTHERWISE)
    fact = known.fact.format(url=redact(url), branch=branch)
    return known.error(f"{fact}: branch {branch} cannot be fetched: {error.fact}", hint=known.hint)
