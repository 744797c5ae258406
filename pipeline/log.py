"""The log: one line for each event, as text for people or as JSON for machines, run and task in each.

Credentials are blotted out by `redact`, whichever form a line has.
"""

import argparse
import contextlib
import json
import logging
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.errors import PipelineError, StoppedError, UsageError
from pipeline.redact import redact

TEXT, JSON = "text", "json"
FORMATS = (TEXT, JSON)
# So that the processes that a command starts write as it does; Nomad or cron can set it for all at once.
VARIABLE = "PIPELINE_LOG_FORMAT"
# What the processes above this one have warned of already, as marks without a meaning of their own.
WARNED = "PIPELINE_WARNED"
STANDARD_ERROR = 2
# Of all others' loggers, only what is worth a warning.
OURS = ("__main__", "pipeline", "tasks", "luigi", "luigi-interface")
# Luigi tells of its own housekeeping what is for us no more than a help in the search for a fault.
LUIGI = ("luigi", "luigi-interface")
QUIET = "DEBUG"
# Luigi's words where what a task needs, such as the snapshot of a source, is undone as its turn comes. It is
# done over, and whoever does that tells if it fails.
UNFULFILLED = "Unfulfilled dependenc"
# What Luigi raises where its scheduler does not answer, or not as one does.
NO_ANSWER = "RPCError"
# Of the lines of another process, those that a person is shown at once.
LOUD = frozenset({"WARNING", "ERROR", "CRITICAL"})

_TEXT_LEVEL = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ([A-Z]+) ")


@dataclass
class _About:
    """What this process is about: the run, and the step of it, such as ExtractTable hr.employee."""

    run: str = ""
    task: str = ""


_about = _About()


def about(run: str, task: str = "") -> None:
    """Say what the lines of this process are about from here on."""
    _about.run, _about.task = run, task


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Add --log-format to a command that goes on for long."""
    parser.add_argument(
        "--log-format",
        choices=FORMATS,
        help=f"the form of the log's lines (default: ${VARIABLE}, or {TEXT})",
    )


def warn_once(logger: logging.Logger, warning: str) -> None:
    """Warn of what does not change while we work: once, and not by each process that this one starts too."""
    import hashlib  # noqa: PLC0415 - short commands warn of nothing

    warned = os.environ.get(WARNED, "").split()
    mark = hashlib.sha256(warning.encode()).hexdigest()[:16]
    if mark not in warned:
        os.environ[WARNED] = " ".join([*warned, mark])
        logger.warning("%s", warning)


def chosen(form: str | None = None) -> str:
    """Return the form in which this process writes. Raise UsageError if the variable names none."""
    name = form or os.environ.get(VARIABLE) or TEXT
    if name not in FORMATS:
        raise UsageError(
            f"the environment variable {VARIABLE} is {name}",
            hint=f"set it to {' or '.join(FORMATS)}",
        )
    return name


def configure(form: str | None = None) -> None:
    """Write the log to standard error in that form, by default the one of the process that started us."""
    os.environ[VARIABLE] = chosen(form)
    root = logging.getLogger()
    for handler in [one for one in root.handlers if isinstance(one, Output)]:
        root.removeHandler(handler)
    root.addHandler(Output(STANDARD_ERROR, os.environ[VARIABLE]))
    listen()


def is_for_machines() -> bool:
    """Whether this process writes its log as JSON."""
    formatters = [one.formatter for one in logging.getLogger().handlers if isinstance(one, Output)]
    return any(isinstance(formatter, Machines) for formatter in formatters)


def listen() -> None:
    """Let what our own loggers and Luigi's say pass, down to the level of information."""
    if not logging.getLogger().handlers and logging.lastResort is not None:
        # Where a step's log is the only one, what else would be told is told still.
        logging.getLogger("pipeline").addHandler(logging.lastResort)
    for name in OURS:
        logging.getLogger(name).setLevel(logging.INFO)


class Output(logging.Handler):
    """Writes each event at once, as one line, into an open file; what cannot be written is dropped.

    A disk that is full, or a reader that has gone, must not end the work that is told of.
    """

    def __init__(self, descriptor: int, form: str) -> None:
        super().__init__()
        self._descriptor = descriptor
        self.setFormatter(Machines() if form == JSON else People())

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except StoppedError:
            raise
        except Exception as error:  # noqa: BLE001 - who logs wrongly must not end the work that it tells of
            # Without what it holds: that was not redacted.
            place = f"{record.filename}:{record.lineno}"
            broken = f"a log line of {place} cannot be formatted: {type(error).__name__}"
            line = self.format(logging.LogRecord(record.name, logging.ERROR, "", 0, broken, None, None))
        with contextlib.suppress(OSError):
            os.write(self._descriptor, (line + "\n").encode(errors="replace"))


def keep_signals() -> None:
    """Have what a command without a log of its own warns of written by an Output, as it stands.

    logging's own last resort takes what a signal raises in it for a fault of writing, and drops it: a command
    that was told to stop while it warned went on.
    """
    handler = Output(STANDARD_ERROR, TEXT)
    handler.setFormatter(logging.Formatter())
    handler.setLevel(logging.WARNING)
    logging.lastResort = handler


def leave_failures() -> None:
    """Have what Luigi says of a step that failed be no more than a help: who started us tells it at the end.

    Only what a person can fix, and only on standard error: a step's own log has it as an error, as ever.
    """
    for handler in logging.getLogger().handlers:
        if isinstance(handler, Output) and isinstance(handler.formatter, People):
            handler.formatter.leaves_failures = True


class People(logging.Formatter):
    """2026-11-22 02:15:07 INFO [2026-11-22 ExtractTable hr.employee] 38,000 rows read (time in UTC).

    The traceback of a bug follows, indented; what a person can fix is told in the line itself.
    """

    leaves_failures = False

    def format(self, record: logging.LogRecord) -> str:
        left = self.leaves_failures and record.name in LUIGI and _is_ours(record)
        level = QUIET if left else _level(record)
        where = f" [{f'{_about.run} {_about.task}'.strip()}]" if _about.run or _about.task else ""
        line = f"{_moment(record):%Y-%m-%d %H:%M:%S} {level}{where} {_message(record)}"
        error = _error(record)
        if error is None:
            return line
        if _fits_a_line(record):
            return f"{line}: {error}"
        return "\n    ".join([line, *error.splitlines()])


class Machines(logging.Formatter):
    """One JSON object a line: ts (UTC), level, run, task, message, and error, null where there is none."""

    def format(self, record: logging.LogRecord) -> str:
        moment = _moment(record).isoformat(timespec="milliseconds")
        return _object(moment, _level(record), _message(record), _error(record))


def _object(moment: str, level: str, message: str, error: str | None = None) -> str:
    entry = {
        "ts": moment,
        "level": level,
        "run": _about.run or None,
        "task": _about.task or None,
        "message": message,
        "error": error,
    }
    return json.dumps(entry, ensure_ascii=False)


def _level(record: logging.LogRecord) -> str:
    """Return the level of an event; what Luigi says of itself is one step lower than it thinks."""
    return QUIET if record.levelno == logging.INFO and record.name in LUIGI else record.levelname


def _moment(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _message(record: logging.LogRecord) -> str:
    # Luigi frames its summary with empty lines.
    return " ".join(record.getMessage().split())


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether an event is of what a person can fix, or of what is done over; all else is a bug."""
    error = record.exc_info[1] if record.exc_info else None
    undone = record.name in LUIGI and str(error).startswith(UNFULFILLED)
    return isinstance(error, PipelineError) or (isinstance(error, RuntimeError) and undone)


def _fits_a_line(record: logging.LogRecord) -> bool:
    """Whether frames say no more than the error: of what is no bug, or of a scheduler without an answer."""
    error = record.exc_info[1] if record.exc_info else None
    return _is_ours(record) or (record.name in LUIGI and type(error).__name__ == NO_ANSWER)


def _error(record: logging.LogRecord) -> str | None:
    """Return the error of an event: one line for what a person can fix, a traceback for a bug."""
    if record.exc_info is None or record.exc_info[1] is None:
        return None
    if _fits_a_line(record):
        return "; ".join(redact(str(record.exc_info[1])).splitlines())
    # By redact, which has seen to it.
    return record.exc_text or ""


def level(line: str) -> str | None:
    """Return the level of a line that another of our processes wrote, None if it is not one of the log's.

    >>> level("2026-11-22 02:15:07 WARNING [2026-11-22] the standby is behind")
    'WARNING'
    >>> level("Traceback (most recent call last):")
    """
    if line.startswith('{"ts": '):
        try:
            return str(json.loads(line)["level"])
        except (ValueError, KeyError):
            return None
    match = _TEXT_LEVEL.match(line)
    return match[1] if match else None


def whole(line: str) -> str:
    """Return a line of another process as this one's log has it: in JSON, plain text becomes an event."""
    if chosen() == TEXT or level(line) is not None:
        return line
    return _object(datetime.now(UTC).isoformat(timespec="milliseconds"), "INFO", line)
