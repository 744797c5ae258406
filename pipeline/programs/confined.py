"""Runs one file of tasks/, confined: to look at it, without any network, or to run its tasks."""

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg2.extensions

from pipeline import postgres
from pipeline.access import Access
from pipeline.confine import copies, parent
from pipeline.confine.limits import MIB, Limits
from pipeline.confine.parent import Ended
from pipeline.confine.way import Way
from pipeline.programs.order import Order
from pipeline.settings import AnalystsSettings
from pipeline.system import command

FOLDER = "tasks"
INSIDE = "/analysts"
CHECK_SECONDS = 60.0
CHECK_MEMORY_BYTES = 512 * MIB
PORT = "5432"
# Files that are for everybody to read, and that a connection needs.
PUBLIC_FILES = ("sslrootcert", "sslcrl")
HANDED = ("dbname", "user", "password", "sslmode", "sslrootcert", "sslcrl", "options", "target_session_attrs")


@dataclass(frozen=True)
class Checked:
    """What is wrong with a file, each with its line, and how many tasks it has."""

    problems: tuple[str, ...]
    tasks: int


def named(folder: Path) -> list[str]:
    """Return the files of tasks of a repository that are run, by name; `_x.py` is for others to import."""
    return sorted(path.stem for path in (folder / FOLDER).glob("*.py") if not path.name.startswith("_"))


def uncopied(folder: Path) -> str:
    """Return why the tasks of a repository cannot be brought to where they are run; nothing if they can."""
    problem = copies.complaint((folder / FOLDER).absolute())
    return problem.replace(str((folder / FOLDER).absolute()), FOLDER)


def check(folder: Path, name: str, user: str | None) -> Checked:
    """Import a file, without network or credential, and return what is wrong with it.

    Raise UsageError where it cannot be confined.
    """
    limits = Limits(CHECK_SECONDS, CHECK_MEMORY_BYTES)
    line = _line(Order.CHECK, name)
    ended = parent.run(line, copied=_copied(folder), folder=INSIDE, limits=limits, user=user)
    return _result_of(name, ended)


def run(
    folder: Path,
    name: str,
    day: str,
    analysts: AnalystsSettings,
    databases: Access,
    on_line: Callable[[str], None],
) -> Checked:
    """Run the tasks of a file, with a way to the warehouse as an analyst, and return what failed."""
    if wrong := uncopied(folder):
        return Checked((wrong,), 0)
    address = psycopg2.extensions.parse_dsn(postgres.plain(databases.analyst_uri(), "the warehouse"))
    hosts = str(address.get("host") or "127.0.0.1").split(",")
    ports = str(address.get("port") or PORT).split(",")
    ports += ports[-1:] * (len(hosts) - len(ports))
    places = [(host, int(port or PORT)) for host, port in zip(hosts, ports, strict=True)]
    theirs: dict[str, Any] = {key: value for key, value in address.items() if key in HANDED}
    # By its name, which its certificate has; the way to it begins here.
    named = next((host for host in hosts if not host.startswith("/")), "127.0.0.1")
    theirs |= {"host": named, "hostaddr": "127.0.0.1", "application_name": f"tasks/{name}.py"}
    theirs |= {"connect_timeout": postgres.CONNECT_TIMEOUT_SECONDS, "gssencmode": "disable"}
    limits = Limits(analysts.task_minutes * 60, analysts.task_memory_mb * MIB)
    ended = parent.run(
        _line(Order.RUN, name, day),
        copied=_copied(folder),
        folder=INSIDE,
        limits=limits,
        user=analysts.user,
        way=Way(places),
        handed=lambda port: json.dumps({**theirs, "port": port}).encode(),
        on_line=on_line,
        read=[Path(theirs[key]) for key in PUBLIC_FILES if key in theirs],
    )
    return _result_of(name, ended)


def _line(order: Order, name: str, day: str | None = None) -> list[str]:
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    return command.python("pipeline.programs.inside", order, name, day or today)


def _copied(folder: Path) -> dict[str, Path]:
    return {f"{INSIDE}/{FOLDER}": (folder / FOLDER).absolute()}


def _result_of(name: str, ended: Ended) -> Checked:
    """Return what a file's own program says of it, as far as that can be believed, or how it ended."""
    shown = f"{FOLDER}/{name}.py"
    if ended.why:
        return Checked((f"{shown}:1: {ended.why}",), 0)
    with contextlib.suppress(ValueError, TypeError, KeyError, OverflowError, RecursionError):
        result = json.loads(ended.result)
        problems = [f"{shown}:{int(line)}: {_plain(str(what))}" for line, what in result["problems"]]
        checked = Checked(tuple(problems), int(result["tasks"]))
        # Their code can write there as well; so its end has to say the same.
        if ended.code == (1 if problems else 0):
            return checked
    how = f"by signal {ended.signal}" if ended.signal else f"with {ended.code}"
    last = f": {_plain(ended.last)}" if ended.last else ""
    return Checked((f"{shown}:1: ended {how} before it was done{last}",), 0)


def _plain(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)[:1000]
