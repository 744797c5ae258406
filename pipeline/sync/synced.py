"""Synced: fetches, writes beside what is there, checks all of it, and switches; or tells why not.

What is invalid changes nothing: the last good version stays, and one alert says what to fix.
"""

import contextlib
import errno
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipeline import COMMIT, __version__, access, alerts, catalog
from pipeline.alerts.failures import AlertSubject
from pipeline.errors import (
    CheckError,
    PipelineError,
    ProblemsError,
    StepError,
    StoppedError,
    UnreachableError,
    UsageError,
)
from pipeline.git import HTTPS, SSH, ContentError, Login, LoginError, MachineError, Repository, transport
from pipeline.programs import check
from pipeline.settings import AnalystsSettings, Settings
from pipeline.sync import tree, versions
from pipeline.sync.versions import VERSIONS
from pipeline.system import atomic, beside, temporary

KEY, COMMAND = "sync", "pipeline sync"
# The fields of the entry in Vault.
TOKEN = "token"  # noqa: S105 - its name
SSH_KEY, KNOWN_HOSTS = "ssh_key", "known_hosts"
SHORT = 10
# When a sync last ended, beside the versions.
ENDED = "ended.json"
# What a machine lacks: any other error of the system is a bug of ours.
LACKS = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EACCES,
        errno.EPERM,
        errno.EAGAIN,
        errno.ENOMEM,
        errno.EMFILE,
        errno.EIO,
    }
)
# Another version of this program may take what one has refused.
JUDGE = f"{__version__} {COMMIT}".strip()


@dataclass(frozen=True)
class Synced:
    """The commit that counts now, and whether it did not before."""

    commit: str
    new: bool

    def __str__(self) -> str:
        return f"commit {self.commit[:SHORT]} " + ("is the version of the next run" if self.new else "counts")


def sync(settings: Settings) -> Synced:
    """Bring the analysts' newest commit to where the next run reads it, and tell what keeps it from there.

    Raise CheckError, with every problem, for a commit that is not as it should be (once more each time, but
    told once), UnreachableError if the repository cannot be reached (LoginError where a person has to fix
    the login), MachineError if this machine cannot run it, AlreadyRunningError beside another.
    """
    analysts = settings.require_analysts()
    if analysts.repository is None:
        raise UsageError(
            "[analysts] repository: missing in luigi.cfg",
            hint="write the URL that analysts push to",
        )
    alone = beside.alone(beside.place(analysts.checkout, VERSIONS), "a sync is already running")
    with alone, _recorded(analysts.checkout):
        try:
            done = _done(settings, analysts.repository)
        except UnreachableError as error:
            # What was wrong with the commit may be so still.
            alerts.send(settings, _subject("/remote").alert("the repository cannot be fetched", error))
            raise
        except (CheckError, ContentError) as error:
            current = [_subject().alert("the newest commit cannot be used; the last good one stays", error)]
            alerts.reconcile(settings, KEY, current)
            raise
        except StoppedError:
            # Who told it to stop knows.
            raise
        except PipelineError as error:
            # Nothing is known of the commit.
            alerts.send(settings, _subject("/machine").alert("this machine cannot run it", error))
            raise
        alerts.reconcile(settings, KEY, [])
        return done


def ended_at(checkout: Path) -> datetime | None:
    """Return when a sync of this checkout last ended, well or not; None if that is not known.

    Whoever fails tells so. What nobody tells of is that none is begun, or that one hangs.
    """
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return datetime.fromisoformat(json.loads(_ended(checkout).read_text())["at"])
    return None


def _ended(checkout: Path) -> Path:
    return beside.place(checkout, VERSIONS) / ENDED


@contextlib.contextmanager
def _recorded(checkout: Path) -> Iterator[None]:
    """Record the end of the body, unless it was told to stop."""
    try:
        yield
    except PipelineError as error:
        if not isinstance(error, StoppedError):
            _record_end(checkout)
        raise
    _record_end(checkout)


def _record_end(checkout: Path) -> None:
    # Where that fails, watch finds that none has ended, and the next sync that writes anything tells why.
    with contextlib.suppress(StepError):
        beside.write(_ended(checkout), {"at": datetime.now(UTC).isoformat(timespec="seconds")})


def _done(settings: Settings, url: str) -> Synced:
    try:
        return _sync(settings, url)
    except OSError as error:
        if error.errno not in LACKS:
            raise
        where = error.filename or beside.place(settings.require_analysts().checkout, VERSIONS)
        raise MachineError(
            f"{where}: {error.strerror}",
            hint="check this machine's disk, memory and permissions, then run it again",
        ) from None


def _subject(part: str = "") -> AlertSubject:
    return AlertSubject(f"{KEY}{part}", "the analysts' repository", COMMAND)


def _sync(settings: Settings, url: str) -> Synced:
    analysts = settings.require_analysts()
    checkout = analysts.checkout
    folder = beside.place(checkout, VERSIONS)
    repository = Repository(beside.place(checkout, "git"))
    token, login = _credential(settings, url, analysts.secret)
    commit = repository.fetch(url, analysts.branch, token, login)
    judged = folder / "judged.json"
    version = folder / commit
    if not version.exists():
        if problems := _known_problems(judged, commit):
            raise _refusal(commit, problems)
        try:
            _make(repository, commit, folder, checkout, analysts)
        except ProblemsError as error:
            beside.write(judged, {"commit": commit, "by": JUDGE, "problems": list(error.problems)})
            raise _refusal(commit, error.problems) from None
    new = checkout.resolve() != version.resolve()
    if new:
        versions.switch(checkout, version)
    versions.remove_unused(checkout)
    return Synced(commit, new)


def _credential(settings: Settings, url: str, secret: str | None) -> tuple[str | None, Login | None]:
    """Return a token for https, or a login for ssh, as the address asks; neither where it needs none.

    Raise LoginError if the entry has not what that address needs.
    """
    way = transport(url)
    if way not in (HTTPS, SSH):
        return None, None
    if secret is None:
        if way == HTTPS:
            return None, None
        raise LoginError(
            f"[analysts] repository: {url} uses ssh, and secret is missing",
            hint=f"write the name of an entry in Vault, with {SSH_KEY} and {KNOWN_HOSTS}, into luigi.cfg",
        )
    with access.opened(settings) as databases:
        entry = databases.vault.read(secret)
    if way == HTTPS:
        if not entry.get(TOKEN):
            raise LoginError(
                f"Vault: {secret} has no {TOKEN}, and {url} uses https",
                hint=f"write {TOKEN} into Vault (entry {secret})",
            )
        return entry[TOKEN], None
    if not entry.get(SSH_KEY):
        raise LoginError(
            f"Vault: {secret} has no {SSH_KEY}, and {url} uses ssh",
            hint=f"write {SSH_KEY} and {KNOWN_HOSTS} into Vault (entry {secret})",
        )
    if not entry.get(KNOWN_HOSTS):
        raise LoginError(
            f"Vault: {secret} has {SSH_KEY} and no {KNOWN_HOSTS}",
            hint="write the server's keys there, as ssh-keyscan prints them and its owner confirms them",
        )
    return None, Login(entry[SSH_KEY], entry[KNOWN_HOSTS])


def _make(
    repository: Repository, commit: str, folder: Path, checkout: Path, analysts: AnalystsSettings
) -> None:
    """Write the commit beside what is there, and let it be seen once all of it is as it should be."""
    before = checkout.resolve() if checkout.is_symlink() else None
    with temporary.folder(folder, ".partial-") as made:
        content = made / "tree"
        content.mkdir(mode=0o700)
        tree.write(repository, commit, content, before)
        _judge(content, analysts.user)
        (content / versions.LOCK).touch(mode=0o600)
        # The name says that it is whole: it is not made again, nor looked at again, also after a power cut.
        atomic.settle_all(content)
        content.rename(folder / commit)
        atomic.settle(folder)


def _judge(content: Path, user: str | None) -> None:
    """Raise ProblemsError with all that is wrong with a commit, the analysts' own tasks included."""
    problems: list[str] = []
    try:
        catalog.read_repository(content)
    except ProblemsError as error:
        problems += error.problems
    # What is no Python at all was told by now.
    files = {problem.partition(":")[0] for problem in problems}
    more = check.problems(content, user)
    problems += [problem for problem in more if problem.partition(":")[0] not in files]
    if problems:
        raise ProblemsError(problems)


def _known_problems(judged: Path, commit: str) -> list[str]:
    try:
        known = json.loads(judged.read_text())
        same = known["commit"] == commit and known["by"] == JUDGE
        return list(known["problems"]) if same else []
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _refusal(commit: str, problems: list[str] | tuple[str, ...]) -> CheckError:
    return CheckError("\n".join(f"commit {commit[:SHORT]}: {problem}" for problem in problems))
