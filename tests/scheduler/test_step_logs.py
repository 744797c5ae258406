"""The log of each step: private, found by its names alone, in nobody's way, and gone after some weeks."""

import logging
import os
import stat
import time
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.scheduler import step_logs
from pipeline.settings import LogSettings, Settings, VaultSettings

RUN, TASK = "2026-11-22", "etl.ExtractTable_hr_employee_2026_11_22_0123456789"


def kept_in(folder: Path) -> Settings:
    vault = VaultSettings(url="http://vault.invalid", auth="token")
    return Settings(vault=vault, logs=LogSettings(folder=folder / "logs", keep_days=7))


def test_what_a_step_logs_is_in_its_file_and_private(tmp_path: Path) -> None:
    settings, logger = kept_in(tmp_path), logging.getLogger("pipeline.test")
    for attempt in ("first", "second"):
        with step_logs.written(settings, RUN, TASK) as is_written:
            assert is_written
            logger.info("the %s attempt", attempt)
    logger.warning("after it")
    file = step_logs.path(settings, RUN, TASK)
    assert file == tmp_path / "logs" / RUN / f"{TASK}.log"
    told = [line.rpartition("INFO")[2].strip() for line in file.read_text().splitlines()]
    assert told == ["the first attempt", "the second attempt"]
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (file.parent.parent, file.parent, file)]
    assert modes == [0o700, 0o700, 0o600]


@pytest.mark.parametrize(
    ("run", "task"),
    [
        ("..", TASK),
        (RUN, ".."),
        (RUN, "../../etc/passwd"),
        ("", TASK),
        (RUN, ""),
        ("/etc", "passwd"),
        (RUN, "a/b"),
        (f"{RUN}/..", TASK),
        (RUN, "a\x00b"),
        (RUN, "a\n"),
        (RUN, "x" * 300),
        ("%2e%2e", TASK),
    ],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, run: str, task: str) -> None:
    with pytest.raises(UsageError):
        step_logs.path(kept_in(tmp_path), run, task)


def test_a_link_in_the_place_of_a_log_is_not_written_through(tmp_path: Path) -> None:
    settings, other = kept_in(tmp_path), tmp_path / "other"
    file = step_logs.path(settings, RUN, TASK)
    file.parent.mkdir(parents=True)
    file.symlink_to(other)
    with step_logs.written(settings, RUN, TASK) as is_written:
        assert not is_written
    assert not other.exists()


def test_a_folder_that_cannot_be_used_stops_no_step(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "logs").write_text("no folder")
    step_logs.prepare(kept_in(tmp_path))
    assert (
        "logs: steps cannot write their logs there: File exists; fix that, or set another [logs] folder"
    ) in caplog.text
    with step_logs.written(kept_in(tmp_path), RUN, TASK) as is_written:
        assert not is_written


def test_old_logs_are_removed_and_nothing_else(tmp_path: Path) -> None:
    settings = kept_in(tmp_path)
    old, new, other = (tmp_path / "logs" / name for name in ("2026-11-01", "2026-11-21", "somebody"))
    for folder, names in ((old, ("a.log", "b.log")), (new, ("a.log", "b.log")), (other, ("a.log", "a.txt"))):
        folder.mkdir(parents=True)
        for name in names:
            (folder / name).touch()
            os.utime(folder / name, (0, 0))
    os.utime(new / "a.log", (time.time(), time.time()))
    # Somebody's, or of a run that has just begun.
    (tmp_path / "logs" / "2026-11-22").mkdir()
    step_logs.prepare(settings)
    left = sorted(path.name for path in (tmp_path / "logs").iterdir())
    assert left == ["2026-11-21", "2026-11-22", "somebody"]
