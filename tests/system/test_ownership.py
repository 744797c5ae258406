"""Files that say whom we trust are refused where somebody else could change them."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline import crypt
from pipeline.errors import ProblemsError
from pipeline.system import ownership
from tests.support.archive import _key_pair as key_pair


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_is_told_with_what_to_type(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "signers"
    file.touch()
    file.chmod(0o644)
    assert ownership.changeable(file) is None
    file.chmod(mode)
    assert ownership.changeable(file) == f"others may write it; type: chmod go-w {file}"


def test_a_file_that_could_be_replaced_is_told_and_one_in_a_sticky_folder_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    folder.chmod(0o777)
    file = folder / "signers"
    file.touch(mode=0o600)
    (tmp_path / "link").symlink_to(file)
    for named in (file, tmp_path / "link"):
        assert (ownership.changeable(named) or "").startswith("others may replace it")
    folder.chmod(0o1777)
    assert ownership.changeable(file) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_another_user_is_told(tmp_path: Path) -> None:
    file = tmp_path / "signers"
    file.touch(mode=0o600)
    os.chown(file, 65534, 65534)
    assert (ownership.changeable(file) or "").startswith(f"{file} belongs to another user")


def test_keys_that_others_could_replace_are_refused(tmp_path: Path) -> None:
    """Who changes them has backups of his taken for ours, or opens those of tonight."""
    signers, recipient = tmp_path / "signers", tmp_path / "school.asc"
    signers.write_text("")
    recipient.write_text(key_pair("school")[0])
    for file in (signers, recipient):
        file.chmod(0o666)
    with pytest.raises(ProblemsError, match=f"{signers}: it decides which backups .*others may write"):
        crypt.read_signers(signers)
    with (
        pytest.raises(ProblemsError, match=f"{recipient}: .*who can decrypt backups.*others may write"),
        crypt.keyring([recipient], now=datetime.now(UTC), folder=tmp_path),
    ):
        pass
