"""A file is there whole under its name, or as it was."""

import errno
import os
from pathlib import Path

import pytest

from pipeline.system import atomic


def test_a_file_that_cannot_be_written_stays_as_it_was_and_leaves_nothing_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "page.html"
    atomic.write(path, "as it was")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        atomic.write(path, "half", durable=True)
    assert (path.read_text(), list(tmp_path.iterdir())) == ("as it was", [path])


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_file_has_the_permissions_that_were_asked_for_whatever_the_process_takes_away(
    tmp_path: Path, mode: int
) -> None:
    before = os.umask(0o077)
    try:
        atomic.write(tmp_path / "page.html", "é", mode=mode)
    finally:
        os.umask(before)
    assert (tmp_path / "page.html").stat().st_mode & 0o777 == mode
    assert (tmp_path / "page.html").read_bytes() == "é".encode()


def test_a_page_whose_folder_is_a_file_says_which_one_is(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("of somebody")
    with pytest.raises(NotADirectoryError) as told:
        atomic.page(taken / "index.html", "<html>")
    assert told.value.strerror == f"{taken} is a file, not a folder"
    assert taken.read_text() == "of somebody"
