"""pg_restore at work: some entries of a dump into a database, and which of them failed with what."""

import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline import postgres
from pipeline.backup.restoring import toc
from pipeline.backup.restoring.target import Target
from pipeline.backup.restoring.toc import Entry
from pipeline.backup.tools import Tool
from pipeline.errors import PipelineError, StepError, UnreachableError
from pipeline.postgres import Connection
from pipeline.redact import redact, without_values
from pipeline.system import command

POLL_SECONDS = 0.2
# As libpq and servers say it: pg_restore ends with 1 whatever it was, and hands on no code of the server's.
CONNECTION_LOST = re.compile(
    r"server closed the connection|terminating connection|connection to server .* failed"
)
# What every later entry would fail with as well.
HOPELESS = re.compile(
    rf"{CONNECTION_LOST.pattern}|No space left on device|could not extend file|out of memory"
    r"|read-only transaction|no connection to the server"
)
# What pg_restore says with --verbose of an error: of which entry, and the server's own words.
AT_ENTRY = re.compile(r"from TOC entry (\d+);")
ERROR = re.compile(r"error: (?:could not execute query: |COPY failed for table .*?: )?(?:ERROR:  )?(.*)")
BY_FUNCTION = re.compile(r'(?:SQL|PL/pgSQL) function ("[^"]+"|[\w.$]+(?:\([^)]*\))?)')
FAILED = "failed"
WENT_ON = "errors ignored on restore"
KEPT = ("error:", "warning:", "ERROR:", "FATAL:")

Report = Callable[[float, str], None]


@dataclass
class Complaints:
    """What pg_restore complained of: the error of each entry, by number, and the functions at work."""

    failed: dict[int, str] = field(default_factory=dict)
    functions: set[str] = field(default_factory=set)
    went_on: bool = False
    _entry: int | None = None

    def take(self, line: str) -> bool:
        """Take a line, and return whether it is worth telling: no progress, and nobody's rows."""
        if match := AT_ENTRY.search(line):
            self._entry = int(match[1])
            self.failed.setdefault(self._entry, FAILED)
        elif "error:" in line and (match := ERROR.search(line)):
            # The first is the reason: what comes after it in the same entry, as its owner, fails for that.
            if self._entry is not None and self.failed[self._entry] == FAILED:
                self.failed[self._entry] = redact(without_values(match[1].strip()))
        elif WENT_ON in line:
            self.went_on = True
        # A context names the function; beyond that it may quote a row.
        elif match := BY_FUNCTION.search(line):
            self.functions.add(match[1].strip('"'))
        return any(word in line for word in KEPT)


@dataclass(frozen=True)
class Restorer:
    """pg_restore of one dump into one database; `size_bytes` is about what all of it will take."""

    tool: Tool
    dump: Path
    place: Target
    size_bytes: int
    report: Report

    def run(
        self, entries: Sequence[Entry], *, jobs: int, options: Sequence[str] = (), goes_on: bool = False
    ) -> Complaints:
        """Restore these entries; return what failed of them, if it `goes_on` after an error.

        Raise StepError if pg_restore fails otherwise, or with what all that comes later would fail with,
        UnreachableError if the connection was lost.
        """
        chosen = self.dump.with_suffix(".entries")
        toc.write(list(entries), chosen)
        arguments: list[str | Path] = [
            self.tool.path,
            "--no-password",
            "--no-tablespaces",
            f"--jobs={jobs}",
            f"--use-list={chosen}",
            f"--dbname={self.place.database}",
            *(["--verbose"] if goes_on else ["--exit-on-error"]),
            *options,
            self.dump,
        ]
        complaints = Complaints()
        with (
            self.place.opened() as connection,
            Path(os.devnull).open("wb") as nowhere,
            postgres.unseen(self._environment(connection)) as (environment, kept),
            command.Child(
                arguments,
                environment=environment,
                output=nowhere.fileno(),
                keep_open=kept,
                worth_telling=complaints.take if goes_on else None,
            ) as child,
        ):
            while child.running:
                self._show_progress(connection)
                time.sleep(POLL_SECONDS)
            try:
                child.finish()
            except StepError as error:
                hopeless = any(HOPELESS.search(message) for message in complaints.failed.values())
                if not complaints.went_on or hopeless or not complaints.failed:
                    raise self._explained(error) from None
        return complaints

    def _environment(self, connection: Connection) -> dict[str, str]:
        own = postgres.with_options(self.place.environment, postgres.options(connection))
        return command.clean_environment({**_passfile(), **own})

    def _show_progress(self, connection: Connection) -> None:
        whole = max(self.size_bytes, 1)
        size = postgres.value(connection, "SELECT pg_database_size(current_database())")
        self.report(min(size / whole, 0.99), f"{size / 1e6:,.0f} of about {whole / 1e6:,.0f} MB")

    def _explained(self, error: StepError) -> PipelineError:
        if CONNECTION_LOST.search(str(error)):
            return UnreachableError(f"{self.place.name}: the connection was lost: {error}")
        return StepError(f"{self.place.name}: {error}")


def _passfile() -> dict[str, str]:
    """Return where libpq was told to look for passwords: ours may have come from there."""
    return {name: os.environ[name] for name in ("PGPASSFILE",) if name in os.environ}
