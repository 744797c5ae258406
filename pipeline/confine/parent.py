"""Outside: starts a confined program, listens to it, keeps its limits, and leaves nothing of it behind."""

import contextlib
import json
import os
import pwd
import signal
import site
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from pipeline.confine.inside import SIGNALLED
from pipeline.confine.limits import MIB, Limits, Plan
from pipeline.confine.way import Way
from pipeline.errors import UsageError
from pipeline.redact import redact
from pipeline.system import command, temporary

POLL_SECONDS = 0.1
START_SECONDS = 30.0
CHUNK_BYTES = 8192
LONGEST_LINE = 4000
# Where there is a home and a place for all that it writes.
HOME = "/tmp"  # noqa: S108 - inside there is nobody else
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": HOME,
    "TMPDIR": HOME,
    "LANG": "C.UTF-8",
    "USER": "analysts",
    "LOGNAME": "analysts",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
    # Each of their threads would set memory aside.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
HINT = (
    "let this system's users have namespaces of their own, or run it as root and name an ordinary user as "
    "[analysts] user"
)


@dataclass(frozen=True)
class Ended:
    """How a confined program ended: its exit code, or what it was ended for, its last line and its result."""

    code: int
    why: str | None
    last: str
    result: bytes

    @property
    def signal(self) -> int | None:
        """Return the signal that ended it, if one did."""
        return self.code - SIGNALLED if self.code > SIGNALLED else None


def run(
    arguments: Sequence[str],
    *,
    copied: Mapping[str, Path],
    folder: str,
    limits: Limits,
    user: str | None = None,
    way: Way | None = None,
    handed: Callable[[int], bytes] = lambda _port: b"",
    on_line: Callable[[str], None] = lambda _line: None,
    read: Sequence[Path] = (),
) -> Ended:
    """Run a program of this Python, confined, to its end, in a folder that is there by what is `copied`.

    `user` is who it is where we are root (by default `nobody`). What `handed` returns, told on which port of
    127.0.0.1 the `way` out begins, is what it reads from its standard input. Each line that it says is told
    to `on_line`; what it writes to its standard output is its result.

    Raise UsageError if this system does not let us confine it.
    """
    with contextlib.ExitStack() as stack:
        root = stack.enter_context(
            temporary.folder(Path(os.environ.get("TMPDIR") or HOME), "pipeline-confined-")
        )
        inner = root / "root"
        inner.mkdir(mode=0o700)
        ours, theirs = socket.socketpair()
        stack.callback(ours.close)
        reading, writing = os.pipe()
        refusal = stack.enter_context(os.fdopen(reading, "rb"))
        refused = stack.enter_context(os.fdopen(writing, "wb"))
        plan = Plan(
            command=list(arguments),
            root=str(inner),
            read=[*map(str, read), *_needed()],
            copied={where: str(folder) for where, folder in copied.items()},
            folder=folder,
            limits=limits,
            refused=writing,
            user=_user(user),
            control=theirs.fileno() if way else None,
            environment=ENVIRONMENT,
        )
        with theirs, refused:
            process = _start(plan)
        stack.callback(_end, process)
        output = _Output(process, limits, on_line)
        assert process.stdin is not None  # noqa: S101 - PIPE was asked for
        port = 0
        if way is not None and (listening := _received(ours)):
            port = stack.enter_context(way).serve(listening)
        _hand(process, handed(port))
        why = _watch(process, limits)
        _end(process)
        result = output.result()
        if reason := refusal.read():
            why_not = redact(reason.decode(errors="replace"))
            raise UsageError(f"the analysts' tasks cannot be confined here: {why_not}", hint=HINT)
        return Ended(process.returncode, why, output.last, result)


def _start(plan: Plan) -> "subprocess.Popen[bytes]":
    line = command.python("pipeline.confine.inside", json.dumps(asdict(plan)))
    return subprocess.Popen(
        line,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd="/",
        env=ENVIRONMENT,
        start_new_session=True,
        pass_fds=(plan.refused,) if plan.control is None else (plan.refused, plan.control),
    )


def _own() -> Path:
    return Path(__file__).parents[1]


def _needed() -> list[str]:
    """Return where this Python, its libraries and ours are; of a folder that has more in it, only that."""
    places = {Path(sys.prefix), Path(sys.base_prefix), _own()}
    # A release is called by a link to where it is: links in it begin there.
    places |= {path.resolve() for path in places}
    for folder in map(Path, site.getsitepackages()):
        # A release is unpacked with links to where it keeps what it shares.
        places |= {path.resolve() for path in folder.glob("*") if path.is_symlink()}
    return [str(path) for path in sorted(places) if path != Path("/")]


def _user(name: str | None) -> tuple[int, int] | None:
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(name or "nobody")
    except KeyError:
        raise UsageError(
            f"[analysts] user: there is no user {name}",
            hint="create it, or name another",
        ) from None
    if entry.pw_uid == 0:
        raise UsageError(
            "[analysts] user: is root",
            hint="name an ordinary user",
        )
    return entry.pw_uid, entry.pw_gid


def _received(control: socket.socket) -> socket.socket | None:
    """Return the socket that connections from inside come by; None if there will be none."""
    control.settimeout(START_SECONDS)
    try:
        _, descriptors, _, _ = socket.recv_fds(control, 1, 1)
    except OSError:
        return None
    return socket.socket(fileno=descriptors[0]) if descriptors else None


def _hand(process: "subprocess.Popen[bytes]", what: bytes) -> None:
    assert process.stdin is not None  # noqa: S101 - PIPE was asked for
    with contextlib.suppress(OSError), process.stdin as pipe:
        pipe.write(what)


def _watch(process: "subprocess.Popen[bytes]", limits: Limits) -> str | None:
    """Wait for its end, or return for which limit it is to be ended."""
    ends_at = time.monotonic() + limits.seconds
    while process.poll() is None:
        if time.monotonic() > ends_at:
            return f"took longer than {limits.seconds:g} seconds, so it was stopped"
        if _uses_more(process.pid, limits.memory_bytes):
            return f"took more than {limits.memory_bytes // MIB:,} MiB of memory, so it was stopped"
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(POLL_SECONDS)
    return None


def _uses_more(pid: int, most_bytes: int) -> bool:
    """Whether all that it has started uses more memory, what several share counted once."""
    with contextlib.suppress(psutil.Error):
        members = psutil.Process(pid).children(recursive=True)
        # The first is quick, and too much only if something is shared.
        return sum(map(_resident, members)) > most_bytes and sum(map(_its_share, members)) > most_bytes
    return False


def _resident(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0


def _its_share(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.AccessDenied:
        return _resident(process)
    except psutil.Error:
        return 0


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill it, and with it the first process inside, whose end the kernel makes that of all others there."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    process.wait()


class _Output:
    """Listens to what a program says, line by line, and to its result; neither can be more than it may."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", limits: Limits, on_line: Callable[[str], None]
    ) -> None:
        self.last = ""
        self._on_line, self._limit, self._result = on_line, limits.output_bytes, bytearray()
        assert process.stdout is not None  # noqa: S101 - PIPE was asked for
        assert process.stderr is not None  # noqa: S101 - likewise
        self._threads = [
            threading.Thread(target=self._collect, args=(process.stdout.fileno(),), daemon=True),
            threading.Thread(target=self._listen, args=(process.stderr.fileno(),), daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        self._streams = (process.stdout, process.stderr)

    def result(self) -> bytes:
        """Return the result, once all was read."""
        for thread in self._threads:
            thread.join()
        for stream in self._streams:
            stream.close()
        return bytes(self._result)

    def _collect(self, descriptor: int) -> None:
        for data in _chunks(descriptor):
            if len(self._result) < self._limit:
                self._result += data

    def _listen(self, descriptor: int) -> None:
        rest, total = b"", 0
        for data in _chunks(descriptor):
            total += len(data)
            if total - len(data) > self._limit:
                continue
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._pass_on_line(line)
            if len(rest) > LONGEST_LINE:
                self._pass_on_line(rest)
                rest = b""
            if total > self._limit:
                self._pass_on_line(f"(output beyond {self._limit:,} bytes is dropped)".encode())
        if rest:
            self._pass_on_line(rest)

    def _pass_on_line(self, line: bytes) -> None:
        text = line[:LONGEST_LINE].decode(errors="replace")
        self.last = redact("".join(letter if letter.isprintable() else " " for letter in text).rstrip())
        self._on_line(self.last)


def _chunks(descriptor: int) -> Iterator[bytes]:
    while data := os.read(descriptor, CHUNK_BYTES):
        yield data
