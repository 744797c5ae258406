"""A platform of which every credential is known, and the conditions in which commands are typed on it."""

import configparser
import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from pipeline import mask
from pipeline.errors import StoppedError
from pipeline.sandbox import provision
from pipeline.sandbox.ports import any_free
from pipeline.sandbox.servers import backup_store
from tests.dashboards.surfaces import EMAIL, PASSWORD
from tests.support import impatient
from tests.support.hooks import Hook
from tests.support.leaks import Planted, Watcher
from tests.support.marts import DECLARED, HR, STAFF, declare
from tests.support.metabase import Metabase, running
from tests.support.night import Ended, Night
from tests.support.recording import Recorder, recorded
from tests.support.restores import Restores

STOP_SECONDS = 60
# What is made of the mask's key. A source shows it, for a moment, to whoever may see its sessions.
HALF = "half of the mask's key"
# Recognisable, and hard to quote: the forms of it are what is looked for.
HOSTILE = "Pl4nted p@ss/word: ü%41 \"'&<"
BOARD = "title: People\ncards:\n  - {title: Heads, chart: number, mart: staff, measures: sum(heads)}\n"
PROGRAM = "import luigi\n\nclass One(luigi.Task):\n    def run(self):\n        raise ValueError(1)\n"
MASKED = DECLARED.replace("employee: }", "employee: {columns: {name: {mask: hash}}} }")

B2_ENTRIES = {
    "writer": backup_store.WRITER,
    "verifier": backup_store.VERIFIER,
    "auditor": backup_store.AUDITOR,
    "restorer": backup_store.RESTORER,
}


@dataclass
class Stage:
    """The platform, what is known of its credentials, and all that was said."""

    restores: Restores
    night: Night
    hook: Hook
    metabase: Metabase
    vault: Recorder
    planted: Planted
    said: list[bytes] = field(default_factory=list)
    typed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    # What a command has in its environment that is not to wait for minutes.
    impatience: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        """The folder of the sandbox."""
        return self.night.platform.sandbox.home.path

    @property
    def database(self) -> str:
        """The database that is loaded and backed up."""
        return self.night.platform.database("hr")

    @property
    def entries(self) -> dict[str, str]:
        """What each login to a database is called here, and its entry in Vault."""
        warehouse = self.night.platform.database("warehouse")
        return {
            "warehouse": warehouse,
            "marts": f"{warehouse}/analyst",
            "dashboards": f"{warehouse}/dashboards",
            "source": f"source/{self.database}",
            "backup": f"database/{self.database}",
            "drill": provision.DRILL,
            "drill superuser": provision.DRILL_SUPERUSER,
        }

    def make(self) -> None:
        """Declare all that there is."""
        platform, archive = self.night.platform, self.restores.archive
        self.impatience = impatient.environment(platform.folder / "impatient")
        self.restores.source("hr", HR)
        platform.declare("hr", MASKED)
        declare(self.night, staff=STAFF)
        for name, text in (("dashboards/people.yaml", BOARD), ("tasks/one.py", PROGRAM)):
            path = platform.analysts / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        platform.sandbox.vault.write(self.administrator, {"email": EMAIL, "password": PASSWORD})
        self._be_hostile()
        archive.write_sections(
            vault={"url": self.vault.url},
            metabase={
                "url": self.metabase.url,
                "secret": self.administrator,
                "api_key_secret": f"{self.administrator}/api_key",
            },
            report={"folder": str(platform.folder / "page")},
        )

    @property
    def administrator(self) -> str:
        """The entry of Metabase's first administrator."""
        return f"metabase/{self.night.platform.prefix}"

    def _be_hostile(self) -> None:
        """Give the logins that are this test's alone passwords that are hard to quote."""
        vault = self.night.platform.sandbox.vault
        for name in ("warehouse", "source", "backup"):
            entry = self.entries[name]
            parts = urlsplit((vault.read(entry) or {})["uri"])
            password = f"{HOSTILE}{name}"
            vault.write(entry, {"uri": _uri(parts.geturl(), password=password)})
            place = "warehouse" if name == "warehouse" else "hr"
            self.night.ask(place, f'ALTER ROLE "{parts.username}" PASSWORD %s', (password,))

    def plant(self) -> None:
        """Know what is handed out by nobody: what lies in files, and what is made of a key."""
        home = self.night.platform.sandbox.home
        self.planted.add("SecretID", provision.secret_id_file(home).read_text())
        self.planted.add("SecretID", provision.secret_id_file(home, provision.RESTORE).read_text())
        for value in (self.night.platform.sandbox.vault.read(provision.SCHEDULER) or {}).values():
            self.planted.add("login to the scheduler", value)
        keys = map(self.b2, (*B2_ENTRIES.values(), "restore/key"))
        for path in (*self.entries.values(), *keys, self.hook.secret, mask.SECRET, self.administrator):
            values = self.night.platform.sandbox.vault.read(path)
            self.vault.learn(
                f"/v1/secret/data/pipeline/{path}", {}, b"", json.dumps({"data": {"data": values}}).encode()
            )
        entry = self.night.platform.sandbox.vault.read(mask.SECRET) or {}
        key = entry[mask.KEY].encode().ljust(64, b"\0")
        for byte in (0x36, 0x5C):
            self.planted.add(HALF, bytes(part ^ byte for part in key).hex())

    # What is typed.

    def type(self, code: int | tuple[int, ...], *arguments: str, **environment: str) -> Ended:
        """Type a command, keep what it says, and note where it ends otherwise than expected."""
        began = time.monotonic()
        ended = self.night.run(*arguments, **environment)
        self.said += [ended.out.encode(), ended.err.encode()]
        self.typed.append(f"{' '.join(arguments)}: {ended.code}, {time.monotonic() - began:.1f} s")
        if ended.code not in (code if isinstance(code, tuple) else (code,)):
            self.wrong.append(f"{' '.join(arguments)}: exit {ended.code}, not {code}: {ended.err[-600:]}")
        # What analysts wrote is told with its traceback: it is theirs.
        if "Traceback" in ended.err and arguments[:2] != ("run", "analysts"):
            self.wrong.append(f"{' '.join(arguments)}: {ended.err[-600:]}")
        return ended

    def stopped(self, said: str, *arguments: str) -> None:
        """Type a command, stop it once it has said that, and keep what it says."""
        process = self.night.start(*arguments)
        lines = []
        for line in process.stderr or ():
            lines.append(line)
            if said in line:
                break
        process.terminate()
        out, err = process.communicate(timeout=STOP_SECONDS)
        self.said += [out.encode(), "".join(lines).encode(), err.encode()]
        self.typed.append(f"{' '.join(arguments)}: {process.returncode}")
        if process.returncode != StoppedError.exit_code or "Traceback" in "".join(lines) + err:
            self.wrong.append(f"{' '.join(arguments)}: {process.returncode}: {''.join(lines) + err}"[-600:])

    # Conditions.

    @contextlib.contextmanager
    def setting(self, section: str, **values: str) -> Iterator[None]:
        """Have other values in luigi.cfg."""
        file = self.night.platform.settings_file
        kept = file.read_text()
        parser = configparser.RawConfigParser()
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        parser.read_string(kept)
        if not parser.has_section(section):
            parser.add_section(section)
        for key, value in values.items():
            parser.set(section, key, value)
        with file.open("w") as out:
            parser.write(out)
        try:
            yield
        finally:
            file.write_text(kept)

    @contextlib.contextmanager
    def entry(self, entry: str, **values: str) -> Iterator[None]:
        """Have Vault hand out other values of an entry."""
        kept = self.night.platform.sandbox.vault.read(entry) or {}
        self.vault.instead[entry] = {**kept, **values}
        try:
            yield
        finally:
            del self.vault.instead[entry]

    @contextlib.contextmanager
    def login(self, name: str, *, password: str | None = None, port: int | None = None) -> Iterator[None]:
        """Have another password, or another server, for one of the logins to databases."""
        entry = self.entries[name]
        kept = (self.night.platform.sandbox.vault.read(entry) or {})["uri"]
        with self.entry(entry, uri=_uri(kept, password=password, port=port)):
            yield

    def b2(self, entry: str) -> str:
        """Return the entry of one of the bucket's keys."""
        return f"{self.restores.archive.entries}{entry}"

    def watching(self) -> Watcher:
        """Return who looks while this goes on."""
        platform = self.night.platform
        return Watcher(
            self.planted,
            {HALF},
            [
                lambda: platform.connect("warehouse"),
                lambda: platform.connect("hr"),
                lambda: self.restores.connect("postgres"),
            ],
        )


@pytest.fixture
def stage(night: Night, hook: Hook, restores: Restores) -> Iterator[Stage]:
    """A platform of which every credential is known."""
    planted = Planted()
    folder = restores.archive.folder
    public = "".join(path.read_text() for path in folder.glob("*.asc"))
    with running() as metabase, recorded(night.platform.sandbox.env["VAULT_ADDR"], planted, public) as vault:
        made = Stage(restores, night, hook, metabase, vault, planted)
        try:
            made.make()
            made.plant()
            yield made
        finally:
            for entry in (made.administrator, f"{made.administrator}/api_key"):
                night.platform.sandbox.vault.remove(entry)


def _uri(uri: str, *, password: str | None = None, port: int | None = None) -> str:
    parts = urlsplit(uri)
    quoted = parts.password if password is None else quote(password, safe="")
    return parts._replace(netloc=f"{parts.username}:{quoted}@{parts.hostname}:{port or parts.port}").geturl()


def nobody() -> int:
    """Return a port at which nobody listens."""
    return any_free()
