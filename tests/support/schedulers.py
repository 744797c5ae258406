"""Schedulers for tests: one of a test's own, and calls with one of its logins."""

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import requests

from pipeline.sandbox import provision
from pipeline.sandbox.ports import any_free
from pipeline.sandbox.servers import processes
from pipeline.scheduler import visualizer
from tests.support.night import wait_until
from tests.support.platforms import Platform

SECONDS = 30


@dataclass
class Door:
    """A scheduler's address, and the passwords of its logins."""

    url: str
    passwords: Mapping[str, str] = field(repr=False)
    trusted: Path | None = None

    def ask(
        self,
        path: str,
        who: str | None = None,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        password: str | None = None,
        data: Any = None,
    ) -> requests.Response:
        """Make one request, as one of the logins or as nobody."""
        given = password or (self.passwords[who] if who else "")
        return requests.request(
            method,
            f"{self.url}{path}",
            headers=headers,
            data=data,
            timeout=SECONDS,
            allow_redirects=False,
            auth=visualizer.basic(who, given) if who else None,
            verify=str(self.trusted) if self.trusted else True,
        )

    def call(self, rpc: str, who: str = "operator", **arguments: Any) -> Any:
        """Return what an RPC answers."""
        answer = self.ask(f"/api/{rpc}", who, method="POST", data={"data": json.dumps(arguments)})
        answer.raise_for_status()
        return answer.json()["response"]

    def tasks(self) -> dict[str, Any]:
        """Return the tasks that the scheduler knows."""
        found: dict[str, Any] = self.call("task_list", status="", upstream_status="")
        return found


def door(platform: Platform) -> Door:
    """Return the sandbox's own scheduler."""
    home = platform.sandbox.home
    return Door(f"http://127.0.0.1:{home.state.ports['luigid']}", logins(platform, provision.SCHEDULER))


def logins(platform: Platform, entry: str) -> dict[str, str]:
    """Return the passwords that Vault has in an entry."""
    return platform.sandbox.vault.read(entry) or {}


@dataclass
class Served:
    """A scheduler that goes by a test's own settings, which name it; started, killed and started again."""

    platform: Platform
    folder: Path
    options: tuple[str, ...] = ()
    scheme: str = "http"
    port: int = field(default_factory=any_free)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def state(self) -> Path:
        """The file with its state."""
        return self.folder / "state.pickle"

    @property
    def log(self) -> str:
        """What it has said."""
        return (self.folder / "scheduler.log").read_text()

    @property
    def door(self) -> Door:
        """The way in."""
        trusted = self.folder / "authority.pem"
        return Door(
            f"{self.scheme}://127.0.0.1:{self.port}",
            logins(self.platform, self.entry),
            trusted if trusted.exists() else None,
        )

    @property
    def entry(self) -> str:
        """The entry in Vault with its logins: its own."""
        return self.platform.database("scheduler")

    def settle(self) -> None:
        """Have the settings name this scheduler and its logins, which are made here."""
        vault = self.platform.sandbox.vault
        vault.write(
            self.entry,
            {login: f"{login} {self.entry} ü: not guessed" for login in ("operator", "reader", "worker")},
        )
        text = self.platform.settings_file.read_text()
        shared = self.platform.sandbox.home.state.ports["luigid"]
        for was, now in (
            (f"default-scheduler-port = {shared}\n", f"default-scheduler-port = {self.port}\n"),
            (f"secret = {provision.SCHEDULER}\n", f"secret = {self.entry}\n"),
        ):
            assert text.count(was) == 1, was
            text = text.replace(was, now)
        self.platform.settings_file.write_text(text)

    def command(self) -> list[str]:
        """Return its command line."""
        return [
            sys.executable,
            "-m",
            "tasks.scheduler",
            f"--port={self.port}",
            f"--state-path={self.state}",
            *self.options,
        ]

    def start(self) -> Door:
        """Start it, wait until it serves, and return the way in."""
        with (self.folder / "scheduler.log").open("ab") as log:
            started = subprocess.Popen(self.command(), env=self.platform.env, stdout=log, stderr=log)
        self.process = started

        def serves() -> bool:
            assert started.poll() is None, self.log
            return processes.listens(psutil.Process(started.pid), self.port)

        wait_until(serves, "the scheduler serves")
        return self.door

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it, by a signal."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(SECONDS)
            self.process = None


@contextlib.contextmanager
def served(platform: Platform, folder: Path) -> Iterator[Served]:
    """Yield a scheduler of a test's own, which is not started yet, and end it afterwards."""
    made = Served(platform, folder)
    made.settle()
    try:
        yield made
    finally:
        made.end(signal.SIGKILL)
        platform.sandbox.vault.remove(made.entry)
