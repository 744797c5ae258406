"""Runs other programs. Never a shell, never a credential in an argument."""

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TypedDict

import psutil

from pipeline.errors import StepError
from pipeline.redact import redact
from pipeline.system import complaints, process_tree
from pipeline.system.account import Account
from pipeline.system.complaints import Complaints

logger = logging.getLogger(__name__)

# What is no longer wanted has so long to tidy up.
CHILD_GRACE_SECONDS = 5.0
# Once it has ended all that it said is there to be read.
LAST_WORDS_SECONDS = 1.0


def python(module: str, *arguments: str | Path) -> list[str]:
    """Return the command line that runs a module of ours with this Python.

    Nothing is imported from the current folder (-P): that of the analysts has a `tasks` as well.
    """
    return [sys.executable, "-P", "-m", module, *map(str, arguments)]


def python_code(code: str) -> list[str]:
    """Return the command line that runs a few statements with this Python, as safely as `python`."""
    return [sys.executable, "-P", "-c", code]


def run(
    arguments: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    stdin: str = "",
    timeout_seconds: float | None = None,
    codec: str | None = None,
    complains_on_output: bool = False,
    account: Account | None = None,
) -> str:
    """Run a program to its end and return its standard output.

    A program that `complains_on_output` says there why it failed, if it says nothing elsewhere. It runs as
    `account`, if that is given.
    `codec` is Python's name for what it writes in, if that is not ours; what does not fit is escaped.

    Raise StepError if it cannot be started, runs over `timeout_seconds` or exits with anything but 0.
    """
    name = Path(arguments[0]).name
    try:
        done = subprocess.run(
            [str(argument) for argument in arguments],
            input=stdin,
            capture_output=True,
            text=True,
            encoding=codec,
            errors="surrogateescape" if codec else None,
            env=None if environment is None else dict(environment),
            timeout=timeout_seconds,
            check=False,
            **_as(account),
        )
    except FileNotFoundError:
        raise StepError(
            f"{name}: not found",
            hint="install it, or put it on the PATH",
        ) from None
    except OSError as error:
        raise StepError(f"{name}: cannot be started: {error.strerror}") from error
    except subprocess.TimeoutExpired:
        raise StepError(
            f"{name}: still running after {timeout_seconds:g} seconds, so it was stopped"
        ) from None
    if done.returncode != 0:
        complaint = done.stderr or (done.stdout if complains_on_output else "")
        kind = ExitError if done.returncode > 0 else StepError
        raise kind(failure(name, done.returncode, complaint))
    return done.stdout


class ExitError(StepError):
    """A program ended with another exit code than 0, and was not ended by a signal."""


def failure(name: str, returncode: int, stderr: str) -> str:
    """Return one message for a program that failed: its exit code, the reason, and the last lines it said."""
    return _ended(name, returncode, complaints.of(stderr))


def _ended(name: str, returncode: int, complaint: str) -> str:
    ended = f"was killed by signal {-returncode}" if returncode < 0 else f"exited with {returncode}"
    return f"{name} {ended}" + (f": {complaint}" if complaint else "")


def stop(process: "subprocess.Popen[str]", grace_seconds: float) -> None:
    """End a program and everything it started: ask first, and insist after `grace_seconds`."""
    process_tree.end(process_tree.of(process.pid), grace_seconds)


def kill_started_with(argument: str | Path) -> None:
    """Kill the programs that have `argument` on their command line, also such as left their parent."""
    for process in psutil.process_iter():
        # Of others' programs we may not see the arguments.
        with contextlib.suppress(psutil.Error):
            if str(argument) in process.cmdline():
                process.kill()


def start(
    arguments: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    on_line: Callable[[str], None],
) -> tuple["subprocess.Popen[str]", threading.Thread]:
    """Start a program whose output, redacted, is handed to `on_line` line by line as it comes.

    It ends with this process: call it in the main thread. Return the process and the thread that reads it,
    which ends when the output is closed.
    """
    process = subprocess.Popen(
        [*_tether(), *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=None if environment is None else dict(environment),
    )

    def read() -> None:
        assert process.stdout is not None  # noqa: S101 - PIPE was asked for above
        with process.stdout:
            for line in process.stdout:
                on_line(redact(line.rstrip("\n")))

    reader = threading.Thread(target=read, name=f"output of {Path(arguments[0]).name}", daemon=True)
    reader.start()
    return process, reader


class Child:
    """A program that writes into a file while its complaints are collected; it ends with this process.

    Use it in a `with` block, in the main thread: it is killed at the end of the block if it still runs.
    """

    def __init__(
        self,
        arguments: Sequence[str | Path],
        *,
        environment: Mapping[str, str],
        output: int,
        keep_open: Sequence[int] = (),
        worth_telling: Callable[[str], bool] | None = None,
        new_privileges: bool = True,
        account: Account | None = None,
    ) -> None:
        """Start it; `output` and `keep_open` are file descriptors. Raise StepError if that fails.

        A program that is installed with a user or a group of its own (as ssh-agent is) has to be started
        without `new_privileges`: with these the kernel lets it live on when this process is killed.

        Of what it says only what is `worth_telling` goes into an error; all, without that. It runs as
        `account`, if that is given.
        """
        self.name = Path(arguments[0]).name
        try:
            self._process = subprocess.Popen(
                [*_tether(new_privileges=new_privileges), *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                env=dict(environment),
                pass_fds=keep_open,
                **_as(account),
            )
        except OSError as error:
            raise StepError(f"{self.name}: cannot be started: {error.strerror}") from error
        self._worth_telling = worth_telling or (lambda _line: True)
        self._complaints = Complaints()
        # Beside it: a program that complains a lot must not wait for somebody to listen.
        self._listener = threading.Thread(target=self._listen, name=f"complaints of {self.name}", daemon=True)
        self._listener.start()

    def __enter__(self) -> "Child":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            # Asked first: pg_restore ends its own children then, and what they are doing in the server.
            stop(self._process, CHILD_GRACE_SECONDS)
        self._process.wait()
        self._end_listening()
        assert self._process.stderr is not None  # noqa: S101 - PIPE was asked for
        self._process.stderr.close()

    def _end_listening(self) -> None:
        """Hear the program's last words, and end what it left behind, which could go on and never say any.

        Whom it began in the moment of its end is nobody's child, but complains where it did.
        """
        self._listener.join(LAST_WORDS_SECONDS)
        assert self._process.stderr is not None  # noqa: S101 - PIPE was asked for
        while self._listener.is_alive():
            process_tree.kill_who_complains_into(self._process.stderr.fileno())
            self._listener.join(LAST_WORDS_SECONDS)

    def _listen(self) -> None:
        assert self._process.stderr is not None  # noqa: S101 - PIPE was asked for
        for line in self._process.stderr:
            if self._worth_telling(line.rstrip("\n")):
                self._complaints.add(line)

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it still runs."""
        self._process.send_signal(number)

    def finish(self) -> tuple[str, ...]:
        """Wait for its end, and return what it warned of all the same.

        Raise StepError unless it exited with 0.
        """
        returncode = self._process.wait()
        self._end_listening()
        if returncode != 0:
            raise StepError(_ended(self.name, returncode, self._complaints.summary()))
        return self._complaints.warnings


class _PopenArguments(TypedDict, total=False):
    """What subprocess needs to start a program as somebody else."""

    user: int
    group: int
    extra_groups: Sequence[int]
    cwd: str


def _as(account: Account | None) -> _PopenArguments:
    if account is None:
        return {}
    # Ours may be closed to it.
    return {"user": account.user, "group": account.group, "extra_groups": account.groups, "cwd": "/"}


def _tether(*, new_privileges: bool = True) -> list[str]:
    """Return what, put before a program's arguments, ends it when this thread's process is killed."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return []
    return [setpriv, "--pdeathsig", "TERM", *([] if new_privileges else ["--no-new-privs"])]


def clean_environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for one of PostgreSQL's programs: what it needs of ours, and `more`.

    None of our own PG* variables is in it, and its messages are in English.
    """
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LD_LIBRARY_PATH") if name in os.environ}
    return {**kept, "LC_ALL": "C", **more}
