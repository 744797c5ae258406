"""What searches for credentials finds them: in each form, in arguments, environments, sessions and files."""

import base64
import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.leaks import Planted, Watcher, in_files
from tests.support.night import Night, wait_until

SECRET = "found p@ss/word: ü%41 'quoted'"


def planted(value: str = SECRET) -> Planted:
    made = Planted()
    made.add("a password", value)
    return made


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        quote(SECRET, safe=""),
        repr(SECRET),
        json.dumps(SECRET),
        f"uri=postgresql://u:{SECRET}@h/d",
        *(base64.b64encode(f"{'x' * n}:{SECRET}, and more".encode()).decode() for n in range(4)),
        SECRET.encode().hex(),
    ],
)
def test_a_credential_is_found_in_each_form(text: str) -> None:
    assert planted().found_in(f"before {text} after".encode()) == {"a password"}
    assert planted().found_in(b"before found after") == set()


def test_of_an_address_the_password_is_looked_for_and_of_a_webhook_its_path() -> None:
    uri = f"postgresql://u:{quote(SECRET, safe='')}@h:5432/d"
    assert planted(uri).found_in(SECRET.encode()) == {"a password"}
    assert (
        planted("https://hooks.test/services/T0/B0/secret").found_in(b"url: /services/T0/B0/secret") != set()
    )


def test_of_a_private_key_each_line_is_looked_for_but_what_the_public_one_has_too() -> None:
    lines = ["x" * 64, "y" * 64]
    made = Planted()
    made.add("a key", "\n".join(["-----BEGIN KEY-----", *lines, "-----END KEY-----"]), public=lines[0])
    assert made.found_in(lines[0].encode()) == set()
    assert made.found_in(lines[1].encode()) == {"a key"}


@pytest.mark.parametrize("where", ["arguments", "environment"])
def test_who_looks_sees_what_a_process_shows(where: str) -> None:
    watcher = Watcher(planted())
    watcher.start()
    line = [sys.executable, "-c", "input()", *([SECRET] if where == "arguments" else [])]
    environment = {**os.environ, **({"TOKEN": SECRET} if where == "environment" else {})}
    with subprocess.Popen(line, stdin=subprocess.PIPE, env=environment) as process:
        try:
            wait_until(lambda: watcher.found, "it was seen", 30)
        finally:
            process.communicate(b"\n")
            watcher.stop()
    assert "a password in" in next(iter(watcher.found))


def test_who_looks_sees_what_a_server_shows_of_its_sessions(night: Night) -> None:
    opened = functools.partial(night.platform.connect, "warehouse")
    watcher = Watcher(planted("in the clear: secret"), (), [opened])
    watcher.start()
    try:
        with opened() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 'in the clear: secret'")
            wait_until(lambda: watcher.found, "it was seen", 30)
    finally:
        watcher.stop()


def test_a_file_that_holds_one_is_found(tmp_path: Path) -> None:
    searched, scratch = tmp_path / "searched", tmp_path / "scratch"
    searched.mkdir()
    (searched / "dump").write_bytes(b"\0before " + base64.b64encode(b"user:" + SECRET.encode()) + b"\0")
    (searched / "other").write_bytes(b"\0nothing of it\0")
    scratch.mkdir()
    assert in_files(planted().kinds, [searched], scratch) == [str(searched / "dump")]
