"""The log: one line for each event, in both forms, with run and task in each and no credential in any."""

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from luigi.rpc import RPCError

from pipeline import log, redact
from pipeline.errors import StepError, StoppedError, UsageError

PASSWORD = "geheim-und-lang-genug"


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave the process's own logging as it was."""
    monkeypatch.delenv(log.VARIABLE, raising=False)
    factory = logging.getLogRecordFactory()
    redact.install()
    yield
    logging.setLogRecordFactory(factory)
    log.about("", "")


def fail(error: Exception) -> None:
    raise error


def lines(tmp_path: Path, form: str) -> list[str]:
    """Return what three events look like: some words, a failure that a person can fix, and a bug."""
    redact.register(PASSWORD)
    file = tmp_path / f"{form}.log"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT, 0o600)
    handler, logger = log.Output(descriptor, form), logging.getLogger("pipeline.test")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    log.about("2026-11-22", "ExtractTable hr.employee")
    try:
        logger.info("the password is %s,\nover two lines", PASSWORD)
        for error in (StepError(f"it failed with {PASSWORD}\nand that"), ValueError(PASSWORD)):
            try:
                fail(error)
            except (StepError, ValueError):
                logger.exception("failed")
    finally:
        logger.removeHandler(handler)
        os.close(descriptor)
    return file.read_text().splitlines()


def test_a_machine_gets_one_object_a_line(tmp_path: Path) -> None:
    told = [json.loads(line) for line in lines(tmp_path, log.JSON)]
    assert [list(one) for one in told] == [["ts", "level", "run", "task", "message", "error"]] * 3
    assert {(one["run"], one["task"]) for one in told} == {("2026-11-22", "ExtractTable hr.employee")}
    assert [one["level"] for one in told] == ["INFO", "ERROR", "ERROR"]
    assert told[0]["message"] == "the password is [redacted], over two lines"
    assert told[0]["ts"].endswith("+00:00")
    assert (told[0]["error"], told[1]["error"]) == (None, "it failed with [redacted]; and that")
    assert told[2]["error"].startswith("Traceback (most recent call last):")
    assert PASSWORD not in json.dumps(told)


def test_a_person_gets_one_line_and_a_traceback_for_a_bug_alone(tmp_path: Path) -> None:
    told = lines(tmp_path, log.TEXT)
    where = "[2026-11-22 ExtractTable hr.employee]"
    assert told[0].endswith(f" INFO {where} the password is [redacted], over two lines")
    assert told[1].endswith(f" ERROR {where} failed: it failed with [redacted]; and that")
    assert told[2].endswith(f" ERROR {where} failed")
    assert told[3] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") for line in told[3:])
    assert PASSWORD not in "\n".join(told)
    assert [log.level(line) for line in told[:4]] == ["INFO", "ERROR", "ERROR", None]


def test_a_failure_that_the_command_tells_at_its_end_is_no_error_of_luigis_before(tmp_path: Path) -> None:
    """On the terminal it would stand twice. A bug, and what we say ourselves, stays as loud as it is."""
    file, root = tmp_path / "log", logging.getLogger()
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT, 0o600)
    handler = log.Output(descriptor, log.TEXT)
    root.addHandler(handler)
    try:
        log.leave_failures()
        for name, error in (
            ("luigi-interface", StepError("no such table")),
            ("luigi-interface", ValueError("a bug")),
            ("pipeline.test", StepError("no such table")),
        ):
            try:
                fail(error)
            except (StepError, ValueError):
                logging.getLogger(name).exception("failed")
    finally:
        root.removeHandler(handler)
        os.close(descriptor)
    told = [line for line in file.read_text().splitlines() if line.startswith("20")]
    assert [log.level(line) for line in told] == ["DEBUG", "ERROR", "ERROR"]
    assert "failed: no such table" in told[0]


def test_a_scheduler_that_does_not_answer_is_one_line_and_no_traceback_of_luigis(tmp_path: Path) -> None:
    """Nothing in it is of use to a person: what he needs to know comes after it."""
    file = tmp_path / "text.log"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT, 0o600)
    handler, logger = log.Output(descriptor, log.TEXT), logging.getLogger("luigi-interface")
    logger.addHandler(handler)
    try:
        fail(RPCError("Errors (12 attempts) when connecting"))
    except RPCError:
        logger.exception("Uncaught exception in luigi")
    finally:
        logger.removeHandler(handler)
        os.close(descriptor)
    (line,) = file.read_text().splitlines()
    assert line.endswith(" ERROR Uncaught exception in luigi: Errors (12 attempts) when connecting")


def test_what_cannot_be_written_is_dropped() -> None:
    """A full disk, or a reader that has gone, ends no work."""
    record = logging.LogRecord("pipeline", logging.INFO, "", 0, "lost", None, None)
    full = os.open("/dev/full", os.O_WRONLY)
    reader, gone = os.pipe()
    os.close(reader)
    try:
        for descriptor in (full, gone):
            log.Output(descriptor, log.TEXT).emit(record)
    finally:
        os.close(full)
        os.close(gone)


@pytest.mark.parametrize("form", [log.TEXT, log.JSON])
def test_who_logs_wrongly_ends_no_work_and_gives_nothing_away(tmp_path: Path, form: str) -> None:
    file = tmp_path / "log"
    with file.open("wb") as opened:
        record = logging.LogRecord("pipeline", logging.INFO, "/x/access.py", 7, "%d", (PASSWORD,), None)
        log.Output(opened.fileno(), form).emit(record)
    assert "a log line of access.py:7 cannot be formatted: TypeError" in file.read_text()
    assert PASSWORD not in file.read_text()


def test_who_is_told_to_stop_while_a_line_is_written_stops(tmp_path: Path) -> None:
    class Stopping:
        def __str__(self) -> str:
            raise StoppedError("stopped by a signal")

    record = logging.LogRecord("pipeline", logging.INFO, "", 0, "%s", (Stopping(),), None)
    with (tmp_path / "log").open("wb") as opened, pytest.raises(StoppedError):
        log.Output(opened.fileno(), log.TEXT).emit(record)


def test_a_command_without_a_log_stops_too_while_it_warns(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """logging itself would drop what a signal raises as it writes, and the command would go on for ever."""
    monkeypatch.setattr(logging, "lastResort", logging.lastResort)
    log.keep_signals()
    last = logging.lastResort
    assert last is not None
    record = logging.makeLogRecord({"msg": "B2 is away", "levelno": logging.WARNING, "levelname": "WARNING"})
    last.handle(record)
    assert capfd.readouterr().err == "B2 is away\n"
    written = os.write

    def write(descriptor: int, line: bytes) -> int:
        written(descriptor, line)
        raise StoppedError("stopped by a signal")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", write)
        with pytest.raises(StoppedError):
            last.handle(record)


def test_lines_of_other_programs_become_events_in_json_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert log.whole("Killed") == "Killed"
    monkeypatch.setenv(log.VARIABLE, log.JSON)
    wrapped = log.whole("Killed")
    assert (json.loads(wrapped)["message"], log.level(wrapped)) == ("Killed", "INFO")
    assert log.whole(wrapped) == wrapped


def test_a_form_that_there_is_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(log.VARIABLE, "xml")
    with pytest.raises(UsageError, match="PIPELINE_LOG_FORMAT is xml; set it to text or json"):
        log.chosen()
