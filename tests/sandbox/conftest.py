"""A sandbox that tests may kill, end and start again, as a person does: by its command line."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from pipeline.sandbox import accounts
from pipeline.sandbox.home import Home
from pipeline.sandbox.servers import processes, servers

Completed = subprocess.CompletedProcess[str]


@dataclass
class CommandLine:
    """`bin/sandbox` with a home of its own."""

    path: Path
    python: str = sys.executable
    # Whom it runs as, or None for whoever runs the tests.
    account: accounts.Account | None = None

    def __call__(self, *arguments: str, expect: int = 0) -> Completed:
        """Run one command to its end; it must exit with `expect`."""
        done = subprocess.run(
            self.line(*arguments),
            env=self.environment,
            **accounts.popen_arguments(self.account),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == expect, done.stdout + done.stderr
        return done

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start one command."""
        return subprocess.Popen(
            self.line(*arguments),
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def line(self, *arguments: str) -> list[str]:
        """Return the command line."""
        return [self.python, "-m", "pipeline.sandbox", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the commands."""
        return {**os.environ, "SANDBOX_HOME": str(self.path)}

    @property
    def home(self) -> Home:
        """The home as it is remembered now."""
        home = Home(self.path)
        home.load()
        return home

    def processes(self) -> list[psutil.Process]:
        """Return every process of the sandbox, children included."""
        home = self.home
        roots = [found for server in servers.ALL if (found := server.process(home))]
        return [*roots, *(child for root in roots for child in root.children(recursive=True))]

    def traces(self) -> list[str]:
        """Return what still runs with this home, or its servers' data, in its command line or folder."""
        places = {str(self.path)}
        if (self.path / "servers").exists():
            places.add(str((self.path / "servers").resolve()))
        told = [_told(process) for process in psutil.process_iter()]
        return [text for text in told if any(place in text for place in places)]


def _told(process: psutil.Process) -> str:
    try:
        return " ".join([*process.cmdline(), process.cwd()]) if processes.is_alive(process) else ""
    except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
        return ""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """A sandbox without sample sources, for the tests of one file to do with as they like."""
    command = CommandLine(tmp_path_factory.mktemp("own") / "home")
    command("up", "--empty")
    yield command
    command("down", "--wipe")
