"""A bare repository of our own: fetches one branch, and reads what a commit holds, object by object."""

import contextlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import StepError
from pipeline.git import agent, credential, probes, trouble
from pipeline.git.agent import Login
from pipeline.git.trouble import GitError, MachineError
from pipeline.redact import redact
from pipeline.system import command

FETCH_SECONDS = 120.0
READ_SECONDS = 60.0
# No file that git writes may be larger: a pack is one file.
LARGEST_PACK_BYTES = 256 * 1024 * 1024
# What may be fetched from; "file" is for a repository on this machine.
PROTOCOLS = ("https", "ssh", "file")
REF = "refs/sync/branch"
NOTHING: Mapping[str, str] = {}

# Which line is shown, and no more: what to do is found out by asking (trouble.py).
_SSH_COMPLAINT = re.compile(
    r"^(Host key verification failed.*|.*: Permission denied \(.*|ssh: (?:connect|Could not resolve).*)$",
    re.M,
)
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
# Where this machine's own, and a repository's, would otherwise have a say.
_CONFIGURATION = {
    "core.hooksPath": "/dev/null",
    "core.attributesFile": "/dev/null",
    "core.fsmonitor": "false",
    "core.symlinks": "false",
    "core.alternateRefsCommand": "true",
    "fetch.fsckObjects": "true",
    "transfer.fsckObjects": "true",
    "transfer.bundleURI": "false",
    "fetch.recurseSubmodules": "false",
    "submodule.recurse": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "http.followRedirects": "false",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "30",
    "protocol.allow": "never",
    **{f"protocol.{name}.allow": "always" for name in PROTOCOLS},
}


@dataclass(frozen=True)
class Entry:
    """What a commit has at a path: its mode and kind as git says them, its object, and its size in bytes."""

    mode: str
    kind: str
    object: str
    size: int | None
    path: bytes


class Repository:
    """A bare repository in a folder that is ours alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def fetch(self, url: str, branch: str, token: str | None, login: Login | None = None) -> str:
        """Fetch the newest commit of a branch, whatever was there before, and return its name.

        `token` is for https, `login` for ssh.

        Raise UnreachableError if it cannot be had, LoginError if that is for the login, ContentError if what
        comes is not a sound repository, MachineError if this machine cannot fetch or keep it.
        """
        self._prepare()
        # Its `-` would be read as an option.
        if branch.startswith("-") or url.startswith("-"):
            raise StepError(
                f"[analysts]: {url} {branch}: begins with a -",
                hint="correct it",
            )
        arguments = [
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-recurse-submodules",
            "--no-write-fetch-head",
            "--depth=1",
            "--no-auto-maintenance",
            "--force",
            "--end-of-options",
            url,
            f"+refs/heads/{branch}:{REF}",
        ]
        with contextlib.ExitStack() as stack:
            # What is wrong with the login itself is not a server's that cannot be reached.
            speaks = stack.enter_context(agent.speaking(login)) if login else NOTHING
            try:
                self._fetch(url, branch, arguments, token, speaks)
            finally:
                self._remove_unfinished()
        commit = self._git(["rev-parse", "--verify", f"{REF}^{{commit}}"], READ_SECONDS).decode().strip()
        if not _COMMIT.fullmatch(commit):
            raise StepError(
                f"{url}: git reports an invalid commit: {commit[:80]}",
                hint="check the repository and git's version",
            )
        return commit

    def _fetch(
        self, url: str, branch: str, arguments: Sequence[str], token: str | None, speaks: Mapping[str, str]
    ) -> None:
        try:
            self._git(arguments, FETCH_SECONDS, token=token, speaks=speaks)
        except GitError as error:
            line = ["ls-remote", "--exit-code", "--quiet", url, f"refs/heads/{branch}"]

            def ask() -> None:
                self._git(line, probes.SECONDS, token=token, speaks=speaks)

            failed = trouble.Fetch(url, branch, self._folder, LARGEST_PACK_BYTES, token, speaks, ask)
            raise trouble.of_fetch(failed, error) from None

    def entries(self, commit: str) -> list[Entry]:
        """Return everything that a commit has, folders aside."""
        listed = self._git(["ls-tree", "-r", "-l", "-z", "--full-tree", commit], READ_SECONDS)
        entries = []
        for line in filter(None, listed.split(b"\0")):
            about, _, path = line.partition(b"\t")
            mode, kind, name, size = about.decode().split()
            entries.append(Entry(mode, kind, name, int(size) if size.isdecimal() else None, path))
        return entries

    def contents(self, objects: Sequence[str]) -> Iterator[bytes]:
        """Yield the content of each object, in order."""
        asked = "".join(f"{name}\n" for name in objects).encode()
        answer = self._git(["cat-file", "--batch"], READ_SECONDS, stdin=asked)
        place = 0
        for name in objects:
            end = answer.index(b"\n", place)
            object_, kind, size = answer[place:end].decode().split()
            if (object_, kind) != (name, "blob"):
                raise StepError(
                    f"git returned {kind} {object_} instead of {name}",
                )
            yield answer[end + 1 : end + 1 + int(size)]
            place = end + 1 + int(size) + 1

    def _prepare(self) -> None:
        """Make the repository, or make it anew where it is not as we left it."""
        alternates = [self._folder / "objects" / "info" / name for name in ("alternates", "http-alternates")]
        if (self._folder / "HEAD").is_file() and not any(path.exists() for path in alternates):
            (self._folder / "config").write_text("[core]\n\trepositoryformatversion = 0\n\tbare = true\n")
            for lock in self._folder.rglob("*.lock"):  # of one that was killed: we have a lock of our own
                lock.unlink()
            self._remove_unfinished()
            return
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(mode=0o700, parents=True)
        self._git(["init", "--quiet", "--bare", "--template="], READ_SECONDS)

    def _remove_unfinished(self) -> None:
        """Remove what git leaves of a pack that it does not finish: it may have all that a pack may have."""
        for unfinished in self._folder.glob("objects/**/tmp_*"):
            with contextlib.suppress(OSError):
                unfinished.unlink()

    def _git(
        self,
        arguments: Sequence[str],
        timeout: float,
        *,
        token: str | None = None,
        stdin: bytes = b"",
        speaks: Mapping[str, str] = NOTHING,
    ) -> bytes:
        """Run git to its end; of the environment and of configurations it sees what is here alone."""
        settings = [word for key, value in _CONFIGURATION.items() for word in ("-c", f"{key}={value}")]
        # The first, empty one takes back whichever else there may be.
        settings += ["-c", "credential.helper="]
        environment = {**self._environment(), **speaks}
        with contextlib.ExitStack() as stack:
            pipes: tuple[int, ...] = ()
            if token is not None:
                pipes = (_pipe_with(token, stack),)
                environment[credential.PIPE] = str(pipes[0])
                helper = f"!'{sys.executable}' -P -m pipeline.git.credential"
                settings += ["-c", f"credential.helper={helper}"]
            line = ["git", f"--git-dir={self._folder}", "--no-replace-objects", *settings, *arguments]
            return _run(line, environment, timeout, stdin, pipes)

    def _environment(self) -> dict[str, str]:
        path = os.environ.get("PATH", os.defpath)
        own = {
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_ALLOW_PROTOCOL": ":".join(PROTOCOLS),
            "GIT_ASKPASS": "true",
            "GIT_SSH_COMMAND": "false",
            "GIT_CEILING_DIRECTORIES": "/",
        }
        # Its home is a folder that has nothing of anybody's.
        return {"PATH": path, "HOME": str(self._folder), "LC_ALL": "C", **own}


def _pipe_with(token: str, stack: contextlib.ExitStack) -> int:
    """Return the reading end of a pipe that has the token in it."""
    reading, writing = os.pipe()
    stack.callback(os.close, reading)
    os.set_inheritable(reading, True)
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(token.encode()[: credential.LONGEST_BYTES])
    return reading


def _run(
    line: Sequence[str], environment: dict[str, str], timeout: float, stdin: bytes, pipes: tuple[int, ...]
) -> bytes:
    try:
        process = subprocess.Popen(
            line,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=pipes,
            start_new_session=True,
            umask=0o077,
        )
    except FileNotFoundError:
        raise MachineError("git: not found", hint="install it, or put it on the PATH") from None
    except OSError as error:
        raise MachineError(
            f"git: cannot be started: {error.strerror}",
            hint="find the cause on this machine, and run it again",
        ) from None
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (LARGEST_PACK_BYTES, LARGEST_PACK_BYTES))
    try:
        out, complaint = process.communicate(stdin, timeout)
    except BaseException as error:
        # With what it started, as what speaks https for it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise _failed(f"git: still running after {timeout:g} seconds, so it was stopped", None) from None
        raise
    if process.returncode != 0:
        stderr = complaint.decode(errors="replace")
        # What ssh says is the reason, and not git's last line.
        why = "".join(_SSH_COMPLAINT.findall(stderr)[:1])
        fact = command.failure("git", process.returncode, stderr)
        raise _failed(f"ssh: {why}" if why else fact, process.returncode)
    return out


def _failed(fact: str, status: int | None) -> GitError:
    error = GitError(redact(fact))
    error.status = status
    return error
