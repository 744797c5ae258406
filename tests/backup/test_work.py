"""The work folder: nobody else's, one run's at a time, and swept of what killed runs left."""

import errno
import multiprocessing
import os
import threading
import time
from pathlib import Path

import pytest

from pipeline.backup.work import attempts, work_folder
from pipeline.backup.work.work_folder import Work
from pipeline.errors import AlreadyRunningError, StepError, UsageError
from pipeline.settings import BackupSettings
from pipeline.step import Step
from tests.support.night import wait_until

forking = multiprocessing.get_context("fork")


def configured(folder: Path) -> BackupSettings:
    return BackupSettings(
        bucket="b", secret="s", recipients=(folder / "a", folder / "b"), work_dir=folder / "work"
    )


def a_work(folder: Path, run: str = "2026-11-22") -> Work:
    return Work(configured(folder), "hr", run)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_all_of_it_is_private(tmp_path: Path) -> None:
    folder = a_work(tmp_path)
    with folder.step("DumpDatabase"):
        pass
    for path in (tmp_path / "work").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    """Plaintext would be there for them."""
    (tmp_path / "work").mkdir(mode=0o755)
    with pytest.raises(UsageError, match=f"{tmp_path}/work: other users may enter it"):
        a_work(tmp_path).prepare()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "work").write_text("a file")
    with pytest.raises(UsageError, match="work: cannot be used"):
        a_work(tmp_path).prepare()


def test_a_second_run_of_a_database_is_refused(tmp_path: Path) -> None:
    with (
        a_work(tmp_path).running(),
        pytest.raises(
            AlreadyRunningError, match=rf"hr is already running: run 2026-11-22, .*process {os.getpid()}"
        ),
        a_work(tmp_path, "2026-11-23").running(),
    ):
        pass


def _hold(folder: Path, begun: str, goes_on: str) -> None:
    with a_work(folder).step("DumpDatabase"):
        Path(begun).touch()
        while not Path(goes_on).exists():
            time.sleep(0.01)
        (a_work(folder).folder / "made").touch()


def test_a_step_waits_for_one_that_a_killed_run_left(tmp_path: Path) -> None:
    """Two at once would write the same files; the second then finds what the first has made."""
    begun, goes_on = tmp_path / "begun", tmp_path / "on"
    other = forking.Process(target=_hold, args=(tmp_path, str(begun), str(goes_on)))
    other.start()
    while not begun.exists():
        time.sleep(0.01)
    told: list[str] = []

    def show(_percent: int | None, message: str) -> None:
        told.append(message)
        goes_on.touch()

    folder = a_work(tmp_path)
    with folder.step("DumpDatabase", show):
        assert (folder.folder / "made").exists()
    other.join()
    assert told[0].startswith(f"waiting for processes of an earlier run (run 2026-11-22, process {other.pid}")


def test_a_step_that_waits_for_another_run_says_so_where_status_looks(tmp_path: Path) -> None:
    """The word of how a step gets on is one file of the database's, and the other run's."""
    begun, goes_on = tmp_path / "begun", tmp_path / "on"
    other = forking.Process(target=_hold, args=(tmp_path, str(begun), str(goes_on)))
    other.start()
    while not begun.exists():
        time.sleep(0.01)
    folder = a_work(tmp_path, "2026-11-23")
    told: list[Step] = []

    def status() -> Step:
        found = attempts.backups(configured(tmp_path), "hr")
        return next(step for step in found if step.key.run == "2026-11-23")

    def look() -> None:
        try:
            wait_until(lambda: status().progress, "it says for whom it waits", seconds=10)
            told.append(status())
        finally:
            goes_on.touch()

    looking = threading.Thread(target=look)
    with folder.running():
        looking.start()
        with folder.step("DumpDatabase"):
            looking.join()
            assert status().progress == ""
    other.join()
    (waited,) = told
    assert (waited.state, waited.key.task) == ("running", "DumpDatabase")
    who = f"waiting for processes of an earlier run (run 2026-11-22, process {other.pid}"
    assert (waited.progress or "").startswith(who)


def test_a_failure_is_remembered_until_the_next_attempt(tmp_path: Path) -> None:
    folder = a_work(tmp_path)
    with pytest.raises(StepError), folder.step("EncryptDump"):
        raise StepError("gpg said no")
    failure = folder.failure()
    assert failure
    assert (failure.step, failure.error, failure.exit_code) == ("EncryptDump", "gpg said no", 3)
    with folder.step("EncryptDump"):
        assert folder.failure() is None


def test_a_disk_that_fills_up_is_something_to_be_done_and_no_bug(tmp_path: Path) -> None:
    folder = a_work(tmp_path)
    full = OSError(errno.ENOSPC, "No space left on device", "somewhere")
    with (
        pytest.raises(StepError, match="No space left on device; make room there"),
        folder.step("EncryptDump"),
    ):
        raise full
    failure = folder.failure()
    assert failure
    assert failure.exit_code == StepError.exit_code
    with pytest.raises(IsADirectoryError), folder.step("EncryptDump"):
        folder.home.read_bytes()


def test_what_killed_runs_left_is_swept(tmp_path: Path) -> None:
    """All plaintext goes but this run's whole dump; ciphertext stays where the upload can go on."""
    ours, resumable, lost = a_work(tmp_path), a_work(tmp_path, "2026-11-21"), a_work(tmp_path, "2026-11-20")
    for folder in (ours, resumable, lost):
        folder.prepare()
        for name in ("hr.dump", "globals.sql", "hr.dump.partial", "hr.dump.gpg"):
            (folder.folder / name).write_text("x")
        (folder.folder / "temporary-x").mkdir()
        (folder.folder / "temporary-x" / "key").write_text("x")
    (resumable.folder / work_folder.ENCRYPTED).write_text("{}")
    ours.sweep()
    assert files(tmp_path / "work" / "hr") == {
        "2026-11-22/hr.dump",
        "2026-11-22/globals.sql",
        "2026-11-22/hr.dump.gpg",
        "2026-11-21/hr.dump.gpg",
        "2026-11-21/encrypted.json",
    }


def test_ciphertext_is_not_kept_for_ever(tmp_path: Path) -> None:
    ours, old = a_work(tmp_path), a_work(tmp_path, "2026-11-01")
    for folder in (ours, old):
        folder.prepare()
    record = old.folder / work_folder.ENCRYPTED
    record.write_text("{}")
    eight_days_ago = time.time() - 8 * 24 * 3600
    os.utime(record, (eight_days_ago, eight_days_ago))
    ours.sweep()
    assert not old.folder.exists()
