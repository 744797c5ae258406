"""Metabase as a job of ours: its database's password comes from Vault, and is where nobody looks."""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from pipeline.dashboards import serving
from pipeline.errors import PipelineError, StepError, UnreachableError, UsageError
from tests.support.night import Night, program, wait_until

KEY = 'a key that is long enough \\ "and" odd'
METABASE = "[metabase]\nurl = http://127.0.0.1:3000\nsecret = metabase\ndatabase_secret = {}\n"
# In the place of Java: says what it was given, and goes on until it is told to stop.
STAND_IN = """\
#!{python}
import json, os, pathlib, sys, time
here = pathlib.Path({folder!r})
text = open(sys.argv[1][1:]).read()
(here / "given").write_text(json.dumps([sys.argv[1:], dict(os.environ), text]))
(here / "there").touch()
time.sleep(600)
"""
REAL = """
public class Tell {
    public static void main(String[] words) throws Exception {
        byte[] told = (System.getProperty("mb.db.pass") + System.getProperty("mb.encryption.secret.key"))
            .getBytes("UTF-8");
        byte[] hash = java.security.MessageDigest.getInstance("SHA-256").digest(told);
        java.nio.file.Path there = java.nio.file.Paths.get("there");
        StringBuilder text = new StringBuilder();
        for (byte one : hash) text.append(String.format("%02x", one));
        java.nio.file.Files.write(there, text.toString().getBytes("UTF-8"));
        Thread.sleep(600000);
    }
}
"""


@dataclass
class Own:
    """Metabase's own database, and the entry of it in Vault."""

    night: Night
    entry: str
    uri: str
    role: str

    @property
    def password(self) -> str:
        return urlsplit(self.uri).password or ""

    def keep(self, **values: str) -> None:
        self.night.platform.sandbox.vault.write(self.entry, values)

    def ask(self, statement: str) -> None:
        self.night.ask("surface", statement)


@pytest.fixture
def own(night: Night) -> Iterator[Own]:
    platform = night.platform
    platform.source("surface")
    kept = platform.sandbox.vault.read(f"source/{platform.database('surface')}") or {}
    made = Own(night, f"metabase/{platform.prefix}_own", kept["uri"], platform.reader("surface"))
    made.ask(f"GRANT CREATE ON SCHEMA public TO {made.role}")
    made.keep(uri=made.uri, encryption_key=KEY)
    file = platform.settings_file
    file.write_text(file.read_text() + "\n" + METABASE.format(made.entry))
    yield made
    platform.sandbox.vault.remove(made.entry)


def refused(own: Own, kind: type[PipelineError] = StepError) -> str:
    with pytest.raises(kind) as caught:
        serving.prepare(own.night.settings)
    return str(caught.value)


def test_a_database_that_is_not_metabases_own_is_refused_before_it_starts(own: Own) -> None:
    assert serving.prepare(own.night.settings) == "UTF8"
    own.ask("CREATE TABLE pupil (id int)")
    assert "it has 1 tables that are not Metabase's: create one for Metabase alone" in refused(own)
    own.ask("CREATE TABLE databasechangelog (id int); CREATE TABLE metabase_database (id int)")
    assert serving.prepare(own.night.settings) == "UTF8"
    own.ask(f"REVOKE CREATE ON SCHEMA public FROM {own.role}")
    assert f"may not create tables: GRANT CREATE ON SCHEMA public TO {own.role}" in refused(own)
    warehouse = own.night.platform.sandbox.vault.read(own.night.platform.database("warehouse")) or {}
    own.keep(uri=warehouse["uri"], encryption_key=KEY)
    own.night.migrate()
    assert "it is the warehouse: create another one" in refused(own)
    own.keep(uri=own.uri, encryption_key="short")
    told = refused(own, UnreachableError)
    assert "its encryption_key is too short; write the output of 'openssl rand -base64 32' there" in told


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("postgresql://mb:s3cret@%2Fvar%2Frun%2Fpostgresql/mb", "a socket folder as its host; write"),
        ("postgresql:///mb?host=/run&user=mb&password=s3cret", "a socket folder as its host; write"),
        ("postgresql://mb:s3cret@/mb", "no host; write"),
        ("postgresql://mb:s3cret@a:5432,b:5433/mb", "several hosts; write"),
        ("postgresql://mb:s3cret@a:5432,5433/mb", "several hosts; write"),
        ("postgresql://mb:s3cret@a/mb?hostaddr=10.0.0.1", "hostaddr, which Java's driver does not support; "),
        ("postgresql://mb:s3cret@a/mb?sslmode=require&sslcert=/c&sslkey=/k", "sslcert, sslkey, which"),
        ("postgresql://mb:s3cret@a/mb?options=-csearch_path%3Dx", "options, which"),
        ("postgresql://mb@a/mb", "no password; write"),
        ("postgresql://a/mb?password=s3cret", "no user; write"),
        ("postgresql://mb:s3cret@a", "no dbname; write"),
        ("postgresql://mb:s3cret@a/mb?sslrootcert=system", "sslrootcert=system, which Java's driver takes"),
        ("postgresql://mb:s3cret@a:x/mb", "a port that is not a number; write"),
    ],
)
def test_an_address_that_javas_driver_does_not_take_as_it_is_meant_is_refused(uri: str, told: str) -> None:
    with pytest.raises(PipelineError) as caught:
        serving.properties(uri, KEY)
    assert f"its uri in Vault has {told}" in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert not caught.value.retryable


def test_an_address_that_java_cannot_use_is_refused_by_prepare_already(own: Own) -> None:
    database = urlsplit(own.uri)
    several = own.uri.replace(f"@{database.hostname}:", f"@{database.hostname}:1,{database.hostname}:")
    own.keep(uri=several, encryption_key=KEY)
    told = refused(own, UsageError)
    assert "its uri in Vault has several hosts; write postgresql://role:password@host:port/name" in told


def test_a_login_that_vault_makes_for_a_while_is_refused_in_the_settings(own: Own) -> None:
    file = own.night.platform.settings_file
    file.write_text(file.read_text().replace(own.entry, "database/creds/surface"))
    ended = own.night.run("metabase", "prepare")
    assert ended.code == 2
    assert "Metabase keeps one login as long as it runs; name an entry that has a uri" in ended.err


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    """A program in the place of Java, in a folder of its own."""
    folder = tmp_path / "java"
    folder.mkdir()
    program = folder / "java"
    program.write_text(STAND_IN.format(python=sys.executable, folder=str(folder)))
    program.chmod(0o755)
    (folder / "metabase.jar").touch()
    return folder


@contextlib.contextmanager
def served(own: Own, jar: Path, home: Path, java: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Have Metabase served, with this folder first in the path; give the block its process."""
    path = f"{java}{os.pathsep}{os.environ['PATH']}"
    environment = {**own.night.platform.env, "HOME": str(home), "PATH": path}
    words: list[str | Path] = [program("pipeline"), "metabase", "serve", "--jar", jar]
    process = subprocess.Popen(words, env=environment, cwd=home)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def seen(process: "subprocess.Popen[bytes]") -> str:
    """Return what everybody sees of a process, and what its own user sees in its environment."""
    there = psutil.Process(process.pid)
    environment = there.environ()
    return " ".join([*there.cmdline(), *environment, *environment.values()])


def test_the_password_of_its_database_is_in_no_argument_and_no_environment(
    own: Own, stand_in: Path, tmp_path: Path
) -> None:
    own.keep(uri=f"{own.uri}?sslmode=prefer", encryption_key=KEY)
    with served(own, stand_in / "metabase.jar", tmp_path, stand_in) as process:
        wait_until((stand_in / "there").exists, "it is there")
        arguments, environment, text = json.loads((stand_in / "given").read_text())
        shown = seen(process) + json.dumps([arguments, environment])
        for secret in (own.password, KEY):
            assert secret not in shown
            assert secret.replace("\\", "\\\\").replace('"', '\\"') in text
        assert arguments[1:] == ["-jar", str(stand_in / "metabase.jar")]
        assert environment.keys() <= {*serving.KEPT, "LC_CTYPE"}
        place = urlsplit(own.uri)
        database = f"jdbc:postgresql://{place.hostname}:{place.port}{place.path}?sslmode=prefer"
        assert f'"-Dmb.db.connection.uri={database}"' in text
        assert '"-Dmb.jetty.host=127.0.0.1"' in text
        process.terminate()
        # Nomad's own signal reaches the program itself, with nobody of ours in between.
        assert process.wait(30) == -signal.SIGTERM


@pytest.mark.endurance
@pytest.mark.skipif(not shutil.which("javac"), reason="Java is not there")
def test_a_real_java_is_told_by_that_file_and_keeps_it_nowhere(own: Own, tmp_path: Path) -> None:
    (tmp_path / "Tell.java").write_text(REAL)
    (tmp_path / "manifest").write_text("Main-Class: Tell\n")
    for words in (["javac", "Tell.java"], ["jar", "cfm", "metabase.jar", "manifest", "Tell.class"]):
        subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    with served(own, tmp_path / "metabase.jar", tmp_path, tmp_path) as process:
        wait_until((tmp_path / "there").exists, "it is there")
        told = hashlib.sha256(f"{own.password}{KEY}".encode()).hexdigest()
        wait_until(lambda: (tmp_path / "there").read_text() == told, "it was told")
        assert own.password not in seen(process)
        # What Java says of itself to other programs of its user.
        assert not list(Path(tempfile.gettempdir()).glob(f"hsperfdata_*/{process.pid}"))
        process.terminate()
        assert process.wait(30) == 143
