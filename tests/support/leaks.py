"""Credentials that are looked for where none may be: their forms, and who looks meanwhile and afterwards."""

import base64
import contextlib
import html
import json
import re
import subprocess
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote, urlencode, urlsplit

import psycopg2

from pipeline.sandbox import lifecycle
from pipeline.sandbox.home import Home
from pipeline.sandbox.servers import servers
from tests.support.night import Night
from tests.support.platforms import Connection, Platform
from tests.support.schedulers import door

# A shorter one is found everywhere, and is no credential.
LEAST_CHARACTERS = 8
# What is below this many characters is too short to be told from other base64.
LEAST_ENCODED = 12
# A line in the middle of a key that is written over many.
KEY_LINE = re.compile(r"[A-Za-z0-9+/=]{40,}")
LOOK_SECONDS = 0.1
# Opens a session in which a server shows what its other sessions do.
Opened = Callable[[], contextlib.AbstractContextManager[Connection]]


@dataclass
class Planted:
    """Every credential of a test, by its kind, and the forms in which it could be seen."""

    kinds: dict[bytes, str] = field(default_factory=dict, repr=False)
    _values: set[str] = field(default_factory=set, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, kind: str, value: str, *, public: str = "") -> None:
        """Look for a credential from now on. `public` is what of it everybody may see."""
        with self._lock:
            if len(value) < LEAST_CHARACTERS or value in self._values:
                return
            self._values.add(value)
            for part in _parts(value, public):
                for form in forms(part):
                    self.kinds.setdefault(form, kind)

    def found_in(self, text: bytes) -> set[str]:
        """Return the kinds of the credentials that stand in a text."""
        with self._lock:
            known = list(self.kinds.items())
        return {kind for needle, kind in known if needle in text}

    @property
    def number(self) -> int:
        """How many credentials there are."""
        return len(self._values)

    @property
    def names(self) -> list[str]:
        """The kinds there are."""
        return sorted(set(self.kinds.values()))


def _parts(value: str, public: str) -> Iterator[str]:
    lines = value.splitlines()
    if len(lines) > 1:
        yield from (line for line in lines if KEY_LINE.fullmatch(line) and line not in public)
        return
    yield value
    with contextlib.suppress(ValueError):
        parts = urlsplit(value if "://" in value else "")
        if parts.password:
            yield unquote(parts.password)
        elif len(parts.path) >= LEAST_ENCODED:
            yield parts.path


def forms(value: str) -> set[bytes]:
    """Return how a text looks: plain, quoted in all ways, and within base64 wherever it begins."""
    plain = {
        value,
        quote(value, safe=""),
        quote_plus(value),
        repr(value)[1:-1],
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        html.escape(value),
    }
    found = {form.encode() for form in plain}
    data = value.encode()
    if len(data) >= LEAST_ENCODED:
        found.add(data.hex().encode())
        for before in range(3):
            # Of the letters at both ends something else has a part.
            encoded = base64.b64encode(b"\0" * before + data)
            found.add(encoded[4 if before else 0 : -4])
            found.add(base64.urlsafe_b64encode(b"\0" * before + data)[4 if before else 0 : -4])
    return found


class Watcher(threading.Thread):
    """Looks at arguments and environment of every process, and at what the servers show of their sessions,
    for as long as something runs.
    """

    def __init__(self, planted: Planted, known: Collection[str] = (), shown: Iterable[Opened] = ()) -> None:
        """Look at all processes, and at these servers' sessions, which show credentials of a `known` kind."""
        super().__init__(name="watcher")
        self._planted, self._known, self._stop_now = planted, known, threading.Event()
        self._shown = list(shown)
        self._seen: set[int] = set()
        self.looked, self.sessions = 0, 0
        self.found = set[str]()

    def run(self) -> None:
        with contextlib.ExitStack() as stack:
            sessions = [stack.enter_context(opened()) for opened in self._shown]
            while not self._stop_now.wait(LOOK_SECONDS):
                for folder in Path("/proc").glob("[0-9]*"):
                    for name in ("cmdline", "environ"):
                        self._look_at_file(folder / name)
                for connection in sessions:
                    self._look_at_sessions(connection)

    def _look_at_file(self, file: Path) -> None:
        try:
            content = file.read_bytes()
        except OSError:
            return  # it has ended, or is not ours
        self._look(f"{file.name} of a process", content)

    def _look_at_sessions(self, connection: Connection) -> None:
        # Vault makes its logins by statements of its own, which are not ours.
        query = (
            "SELECT coalesce(usename, ''), application_name, query FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND usename !~ '^vault_' AND pid <> pg_backend_pid()"
        )
        with contextlib.suppress(psycopg2.Error), connection.cursor() as cursor:
            cursor.execute(query)
            for user, program, statement in cursor.fetchall():
                self.sessions += 1
                self._look(f"a session of {user}", f"{program} {statement}".encode(), self._known)

    def _look(self, place: str, content: bytes, known: Collection[str] = ()) -> None:
        self.looked += 1
        # What is known already is not searched again; a credential of later was in no program of before.
        key = hash(content)
        if key in self._seen:
            return
        self._seen.add(key)
        for kind in self._planted.found_in(content) - set(known):
            self.found.add(f"{kind} in {place}: {content[:80].decode(errors='replace')!r}")

    def stop(self) -> None:
        self._stop_now.set()
        self.join()


def in_files(needles: Iterable[bytes], folders: list[Path], scratch: Path, *options: str) -> list[str]:
    """Return the files below the folders that hold one of the needles."""
    patterns = scratch / "patterns"
    patterns.write_bytes(b"\n".join(needles) + b"\n")
    done = subprocess.run(
        [  # noqa: S607 (grep, wherever it is)
            "grep",
            "--recursive",
            "--text",
            "--fixed-strings",
            "--files-with-matches",
            f"--file={patterns}",
            *options,
            *folders,
        ],
        capture_output=True,
        text=True,
        check=False,
        env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
    )
    patterns.unlink()
    return done.stdout.splitlines()


def of_the_scheduler(platform: Platform) -> Iterator[bytes]:
    """Yield what the scheduler answers: its tasks, graphs, errors, workers and history."""
    way_in = door(platform)

    def get(path: str, **data: object) -> bytes:
        query = "?" + urlencode({"data": json.dumps(data)}) if data else ""
        answer = way_in.ask(f"/{path}{query}", "reader")
        answer.raise_for_status()
        return answer.content

    tasks = get("api/task_list", status="", upstream_status="")
    yield tasks
    yield get("api/worker_list", include_running=True)
    yield get("api/graph")
    yield get("api/resource_list")
    failed = json.loads(get("api/task_list", status="FAILED", upstream_status=""))["response"]
    disabled = json.loads(get("api/task_list", status="DISABLED", upstream_status=""))["response"]
    for task in {**failed, **disabled}:
        yield get("api/fetch_error", task_id=task)
    yield get("history")
    yield get("metrics")


def of_the_ledger(night: Night) -> Iterator[bytes]:
    """Yield every row of the warehouse's own tables, Luigi's history included."""
    query = "SELECT relname FROM pg_class WHERE relnamespace = 'ops'::regnamespace AND relkind = 'r'"
    for (name,) in night.ask("warehouse", query):
        for (row,) in night.ask("warehouse", f"SELECT t::text FROM ops.{name} t"):
            yield row.encode()


def restarted_scheduler(home: Home) -> bytes:
    """End the scheduler in good order, return the state that it saved, and start it again."""
    (luigid,) = [server for server in servers.ALL if server.name == "luigid"]
    process = luigid.process(home)
    assert process
    process.terminate()
    process.wait(30)
    state = (home.path / "luigi" / "state.pickle").read_bytes()
    assert oct((home.path / "luigi" / "state.pickle").stat().st_mode & 0o777) == "0o600"
    lifecycle.up(home, lambda _line: None, samples=False)
    return state
