"""What all servers of the sandbox have in common, and the ones that are Python programs of this project."""

import abc
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from pipeline.sandbox import accounts
from pipeline.sandbox.home import PROJECT, Home
from pipeline.sandbox.ports import ADDRESS
from pipeline.sandbox.servers import processes
from pipeline.system import command


class Server(abc.ABC):
    """One server: how it is prepared, started, recognised as ready, and ended."""

    stop_signal = signal.SIGTERM

    def __init__(self, name: str, preferred_port: int) -> None:
        self.name = name
        self.preferred_port = preferred_port

    def record(self, home: Home) -> Path:
        """Return the file that remembers its process."""
        return home.records / f"{self.name}.json"

    def log(self, home: Home) -> Path:
        """Return its log file."""
        return home.logs / f"{self.name}.log"

    def port(self, home: Home) -> int:
        """Return the port that was chosen for it."""
        return home.state.ports[self.name]

    def process(self, home: Home) -> psutil.Process | None:
        """Return its process if it is running."""
        return processes.running(self.record(home))

    def leftovers(self, home: Home) -> list[psutil.Process]:  # noqa: ARG002 - for those that have some
        """Return processes of it that outlived the one that was recorded."""
        return []

    def account(self, home: Home) -> accounts.Account | None:  # noqa: ARG002 - for those that drop privileges
        """Return the user that it runs as, or None for the caller."""
        return None

    def prepare(self, home: Home, stopping: threading.Event) -> None:  # noqa: B027 - nothing to do for most
        """Make what it needs before its start. Raise StepError if that fails."""

    def folder(self, home: Home) -> Path:
        """Return the folder it works in."""
        return home.path

    def environment(self, home: Home) -> Mapping[str, str]:  # noqa: ARG002 - for those that need the home
        """Return its whole environment: little, and never a credential."""
        return plain_environment()

    @abc.abstractmethod
    def address(self, home: Home) -> str:
        """Return where it is, for people."""

    @abc.abstractmethod
    def arguments(self, home: Home) -> Sequence[str | Path]:
        """Return its command line."""

    @abc.abstractmethod
    def ready(self, home: Home, process: psutil.Process) -> bool:
        """Return whether it can be used; called again and again until it is."""


class PythonServer(Server):
    """A module of this project that serves HTTP on loopback, and takes `--port` beside its own arguments.

    It runs as the caller: as root, the unprivileged user may be unable to enter the virtual environment.
    """

    def __init__(
        self,
        name: str,
        preferred_port: int,
        module: str,
        more_arguments: Callable[[Home], Sequence[str | Path]],
    ) -> None:
        super().__init__(name, preferred_port)
        self._module = module
        self._more_arguments = more_arguments

    def address(self, home: Home) -> str:
        """Return its URL."""
        return f"http://{ADDRESS}:{self.port(home)}"

    def environment(self, home: Home) -> Mapping[str, str]:
        """Return an environment with the addresses of the sandbox."""
        python_path = [str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
        python = {"PYTHONUNBUFFERED": "1", "PYTHONPATH": os.pathsep.join(python_path)}
        return {**plain_environment(), **addresses(home), **python}

    def arguments(self, home: Home) -> Sequence[str | Path]:
        """Return its command line."""
        return command.python(self._module, "--port", str(self.port(home)), *self._more_arguments(home))

    def ready(self, home: Home, process: psutil.Process) -> bool:
        """Return whether it listens."""
        return processes.listens(process, self.port(home))


def plain_environment() -> dict[str, str]:
    """Return the environment of programs that need nothing of the caller's."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": os.environ.get("HOME", "/"),
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
    }


def addresses(home: Home) -> dict[str, str]:
    """Return the variables that point a program at the sandbox: addresses and file names, no credential."""
    return {
        "SANDBOX_HOME": str(home.path),
        "LUIGI_CONFIG_PATH": str(home.settings_file),
        "VAULT_ADDR": f"http://{ADDRESS}:{home.state.ports['vault']}",
    }
