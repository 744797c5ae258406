"""Room on a disk: tried, and told by its code."""

import errno
from pathlib import Path

import pytest

from pipeline.system import room
from tests.support.archive import may_mount, small_disk


def test_a_folder_that_takes_files_lacks_nothing_and_keeps_nothing(tmp_path: Path) -> None:
    assert room.lacking(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    missing = room.lacking(tmp_path / "none")
    assert missing is not None
    assert missing.errno == errno.ENOENT


@pytest.mark.skipif(not may_mount(), reason="only root may mount a small disk")
def test_a_disk_with_some_kilobytes_left_is_full(tmp_path: Path) -> None:
    """As programs leave it: they write more than that at a time."""
    with small_disk(tmp_path, 2 * room.PROBE_BYTES) as disk:
        assert room.lacking(disk) is None
        (disk / "dump").write_bytes(bytes(2 * room.PROBE_BYTES - 64 * 1024))
        full = room.lacking(disk)
        assert full is not None
        assert full.errno == errno.ENOSPC
