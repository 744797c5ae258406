"""What all steps share: a target that asks the library, status in the visualizer, redacted errors."""

import contextlib
import functools
import hashlib
import json
import logging
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from html import escape
from pathlib import Path

import luigi

from pipeline import catalog, chains, retry, settings, sync
from pipeline.catalog import Catalog, Source
from pipeline.errors import PipelineError
from pipeline.ledger import runs
from pipeline.loading import listing
from pipeline.redact import redact
from pipeline.settings import Settings
from tasks.progress_reporter import reporter

logger = logging.getLogger(__name__)

WHOLE = 100
# Progress is shown as it comes, and logged now and then.
LOG_SECONDS = 10.0


class Final(str):
    """What the visualizer shows of a failure that no second try can fix."""

    __slots__ = ()


class Done(luigi.Target):
    """Exists once the library says so; raises, rather than saying no, where that cannot be told."""

    def __init__(self, name: str, exists: Callable[[], bool]) -> None:
        self._name, self._exists = name, exists

    def exists(self) -> bool:
        # A server that restarts is not an answer to this question.
        return retry.call(self._exists)

    def __str__(self) -> str:
        return self._name


class RunParameter(luigi.Parameter):
    """The logical date of a run. A task of another cannot be made: UsageError."""

    def normalize(self, x: object) -> str:
        """Return the logical date."""
        return runs.parse(str(x))

    def serialize(self, x: object) -> str:
        """Return the date, also where Luigi's summary asks a task for its attribute `run`: its method."""
        task = getattr(x, "__self__", None)
        return str(task.logical_date if isinstance(task, Step) else x)


class MonthParameter(luigi.Parameter):
    """The month of a drill. A task of another cannot be made: UsageError."""

    def normalize(self, x: object) -> str:
        """Return the month."""
        return runs.parse_month(str(x))


class Shown(luigi.Task):
    """A task whose run() is one call into the library."""

    # When its progress was last written into the log.
    logged_at = -LOG_SECONDS
    # Whether it failed by what no second try can fix.
    is_final = False
    # Whether its process does others after it: steps that are short, and many.
    shares_its_process = False

    @property
    def retry_count(self) -> int | None:
        """How often it may fail until it is left alone; None as in [scheduler] retry_count."""
        return 1 if self.is_final else None

    @property
    def about_run(self) -> str:
        """The run, or month, in which this is done."""
        return next(str(getattr(self, name)) for name in ("logical_date", "month") if hasattr(self, name))

    @property
    def about(self) -> str:
        """What this does, and with what, as the ledger calls it: ExtractTable hr.employee."""
        known = chains.of_family(str(self.task_family))
        part = known[1].part if known else None
        identity = [str(getattr(self, name)) for name in part.parameters] if part else []
        return f"{type(self).__name__} {'.'.join(identity)}".strip()

    # Why it could not be told whether this is done.
    doubt = None

    def require_declared(self) -> None:
        """Raise UsageError if what this is about is in no settings, or in no catalog."""

    def complete(self) -> bool:
        """Whether it is done. Remember the error if that cannot be told: Luigi passes on that, not which."""
        try:
            return bool(super().complete())  # type: ignore[no-untyped-call]
        except Exception as error:
            self.doubt = error
            raise

    def show(self, percent: int | None, message: str) -> None:
        """Show progress in the visualizer, which inserts what it is given as HTML, and in the log."""
        if percent == WHOLE or time.monotonic() - self.logged_at > LOG_SECONDS:
            self.logged_at = time.monotonic()
            logger.info("%s", message)
        if self.set_status_message is not None:
            reporter.report("message", functools.partial(self.set_status_message, escape(redact(message))))
        if percent is not None and self.set_progress_percentage is not None:
            reporter.report("progress", functools.partial(self.set_progress_percentage, percent))

    def on_failure(self, exception: BaseException) -> str:
        """Return what the visualizer shows: one line for what a person can fix, a traceback for a bug."""
        if isinstance(exception, PipelineError):
            error = redact(str(exception))
            return error if exception.retryable else Final(error)
        return redact("".join(traceback.format_exception(exception)))


class Step(Shown):
    """A step of a run.

    Its parameter `logical_date` is called `run` outside: on the command line, in the visualizer and the
    history. As an attribute that name is taken by the method.
    """

    logical_date = RunParameter(description="the logical date, such as 2026-11-22 or 2026-11-22T1430")

    @classmethod
    @functools.cache
    def get_params(cls) -> list[tuple[str, luigi.Parameter]]:
        """Return the parameters under the names by which they are known outside, the run last.

        Luigi asks for them a dozen times for each task.
        """
        params = super().get_params()  # type: ignore[no-untyped-call]
        run = [("run", value) for name, value in params if name == "logical_date"]
        return [(name, value) for name, value in params if name != "logical_date"] + run

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__("logical_date" if name == "run" else name, value)


@functools.cache
def configured() -> Settings:
    """Return the settings, as they were when this process (or the one it was forked from) began."""
    return settings.read()


@functools.cache
def declared() -> Catalog:
    """Return the analysts' catalog, likewise: all steps of a run go by the same one."""
    return catalog.read(sync.folder(configured().require_analysts().checkout))


def source_of(name: str, run: str) -> Source:
    """Return a source with the tables that a run loads, which only the source may know."""
    declared_source = declared().source(name)
    return _source_of(name, run) if declared_source.everything else declared_source


@functools.lru_cache(maxsize=32)
def _source_of(name: str, run: str) -> Source:
    return listing.of_run(configured(), declared(), name, run)


def clear_catalog_cache() -> None:
    """Read the analysts' catalog anew when it is needed next."""
    declared.cache_clear()
    _source_of.cache_clear()


def catalog_digest() -> str | None:
    """Return what tells the catalog that is gone by here from any other; None if it cannot be read."""
    try:
        data = declared().model_dump()
    except PipelineError:
        return None
    text = json.dumps(data, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: object) -> object:
    # A set comes in another order in each process.
    return sorted(map(str, value)) if isinstance(value, frozenset) else str(value)


def catalog_files() -> frozenset[tuple[Path, int, int]]:
    """Return the files of the catalog, each with the time (ns) of its last change and its size (bytes)."""
    checkout = sync.folder(configured().require_analysts().checkout)
    paths = [path for part in ("sources", "marts") for path in (checkout / part).rglob("*")]
    files = set()
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # it is just being replaced
            stat = path.stat()
            files.add((path, stat.st_mtime_ns, stat.st_size))
    return frozenset(files)


def today() -> str:
    """Return the logical date of a run that is started now: the latest schedule at or before now, in UTC."""
    return runs.logical_date(datetime.now(UTC))
