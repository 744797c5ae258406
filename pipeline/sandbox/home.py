"""A sandbox's home: where everything lies, and what is remembered from one command to the next."""

import contextlib
import dataclasses
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.sandbox import accounts
from pipeline.system import atomic, file_lock

PROJECT = Path(__file__).resolve().parents[2]


@dataclasses.dataclass
class State:
    """What a sandbox remembers. No credential is ever among it."""

    # Data of the servers that run as the unprivileged user, and the folder of PostgreSQL's sockets.
    server_folder: str = ""
    socket_folder: str = ""
    ports: dict[str, int] = dataclasses.field(default_factory=dict)
    # The source databases that are there.
    databases: list[str] = dataclasses.field(default_factory=list)
    # What the credentials and settings were last made for.
    provisioned: str = ""


class Home:
    """One sandbox on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.logs = path / "log"
        self.records = path / "run"
        # The Vault server's own: its unseal key, its root token and the login of the pipeline.
        self.vault_keys = path / "vault"
        self.settings_file = path / "luigi.cfg"
        self.webhooks_file = path / "webhooks.jsonl"
        self.analysts = path / "analysts"
        self.analysts_remote = path / "analysts.git"
        self.account = accounts.server_account()
        self._state_file = path / "state.json"
        self._changing = threading.RLock()
        self.state = State()

    @property
    def exists(self) -> bool:
        """Whether there is a sandbox here."""
        return self._state_file.exists()

    def load(self, *, damaged_is_fine: bool = False) -> None:
        """Read the remembered state. Raise UsageError if there is no sandbox here or it is not ours.

        With `damaged_is_fine`, what can be known without it is enough: where the data lies, to remove it.
        """
        try:
            self.state = State(**json.loads(self._state_file.read_text()))
        except FileNotFoundError:
            raise UsageError(f"there is no sandbox in {self.path}; start one with 'bin/sandbox up'") from None
        except PermissionError:
            raise UsageError(
                f"the sandbox in {self.path} belongs to another user; set SANDBOX_HOME"
            ) from None
        except (ValueError, TypeError) as error:
            if damaged_is_fine:
                self.state = State(server_folder=str((self.path / "servers").resolve()))
                return
            raise UsageError(
                f"{self._state_file} is damaged ({error}); remove the sandbox with 'bin/sandbox down --wipe'"
            ) from error

    def save(self) -> None:
        """Write the state, all of it or nothing."""
        with self._changing:
            atomic.write(self._state_file, json.dumps(dataclasses.asdict(self.state), indent=1) + "\n")

    @contextlib.contextmanager
    def changing(self) -> Iterator[State]:
        """Change the state, from any thread, and save it."""
        with self._changing:
            yield self.state
            self.save()

    @contextlib.contextmanager
    def locked(self, on_wait: Callable[[], None]) -> Iterator[None]:
        """Keep every other command that changes this sandbox waiting; `on_wait` is called if we must wait.

        Raise UsageError if the home is not ours to write in.
        """
        while True:
            descriptor = self._open_lock()
            try:
                _lock(descriptor, on_wait)
                # The one before us may have wiped the home, and this lock's file with it.
                if _same_file(descriptor, self.path / "lock"):
                    yield
                    return
            finally:
                os.close(descriptor)

    def _open_lock(self) -> int:
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UsageError(
                f"{self.path} cannot be used: {error.strerror}; set SANDBOX_HOME to a folder of your own"
            ) from error

    def prepare(self) -> None:
        """Make the folders, or what is missing of them."""
        if self.exists:
            self.load()
        for folder in (self.path, self.logs, self.records, self.vault_keys, self.path / "luigi"):
            folder.mkdir(mode=0o700, exist_ok=True)
        if not self.state.server_folder or not Path(self.state.server_folder).is_dir():
            with self.changing() as state:
                state.server_folder = str(self._new_server_folder())
                state.provisioned = ""
        if not self.state.socket_folder or not Path(self.state.socket_folder).is_dir():
            with self.changing() as state:
                state.socket_folder = str(_new_socket_folder(self.account))

    def _new_server_folder(self) -> Path:
        link = self.path / "servers"
        if self.account is None:
            link.mkdir(mode=0o700, exist_ok=True)
            return link
        # The unprivileged user may be unable to enter the home, which can lie below root's own folder.
        link.unlink(missing_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="pipeline-sandbox-", dir="/var/tmp"))
        accounts.give(folder, self.account)
        link.symlink_to(folder)
        return folder

    def servers(self, name: str) -> Path:
        """Return the folder of one server's data."""
        return Path(self.state.server_folder) / name

    def wipe(self) -> None:
        """Remove everything, the folders outside the home included."""
        for folder in (self.state.socket_folder, self.state.server_folder):
            if folder:
                shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(self.path)


def default_path() -> Path:
    """Return $SANDBOX_HOME, or .sandbox in the project."""
    return Path(os.environ.get("SANDBOX_HOME") or PROJECT / ".sandbox").absolute()


def _new_socket_folder(account: accounts.Account | None) -> Path:
    # Short, since a socket's path has 107 bytes at the most. Private, since whoever can enter is superuser.
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    accounts.give(folder, account)
    return folder


def _lock(descriptor: int, on_wait: Callable[[], None]) -> None:
    if not file_lock.try_take(descriptor):
        on_wait()
        file_lock.take(descriptor)


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
