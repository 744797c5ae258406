"""One lock of each kind: of a server by a name, of a file. Who takes one asks the room that has it."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.postgres import locks
from pipeline.system import file_lock
from tests.support import source_code
from tests.support.night import Night
from tests.support.source_code import TOP

PATHS = source_code.modules()


def calls(path: Path, module: str) -> set[str]:
    """Return what of a module is used here."""
    return {
        one.attr
        for one in source_code.walk(source_code.parsed(path))
        if isinstance(one, ast.Attribute) and isinstance(one.value, ast.Name) and one.value.id == module
    }


def test_only_one_module_locks_files() -> None:
    found = {path.stem for path in PATHS if "flock" in calls(path, "fcntl")}
    # Of records, which are not handed on to children: who has warned of an outage.
    assert (found, {path.stem for path in PATHS if "lockf" in calls(path, "fcntl")}) == (
        {"file_lock"},
        {"outage"},
    )


def test_only_one_module_takes_locks_of_a_server() -> None:
    a_call = re.compile(r"pg_(try_)?advisory_\w+")
    assert [path.name for path in PATHS if a_call.search(path.read_text())] == ["locks.py"]
    assert not [path for path in (TOP / "pipeline").rglob("*.sql") if a_call.search(path.read_text())]


def test_a_file_is_locked_until_the_last_process_that_has_it_open_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    ours, other = (os.open(path, os.O_RDWR | os.O_CREAT, 0o600) for _ in range(2))
    assert file_lock.try_take(ours)
    assert not file_lock.try_share(other)
    child = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(ours,), text=True
    )
    os.close(ours)
    assert not file_lock.try_take(other)
    child.communicate("")
    assert file_lock.try_take(other)
    file_lock.release(other)
    assert file_lock.try_share(other)
    os.close(other)


@pytest.mark.parametrize("key", ["table shop.item", 0x706970])
def test_a_lock_of_a_server_is_held_by_a_transaction_or_a_session(night: Night, key: locks.Key) -> None:
    with night.warehouse() as one, night.warehouse() as other:
        one.autocommit = other.autocommit = False
        locks.take(one, key)
        assert not locks.try_take(other, key)
        one.commit()
        assert locks.try_hold(other, key)
        other.commit()
        assert not locks.try_take(one, key)
        locks.release(other, key)
        assert locks.try_take(one, key)
