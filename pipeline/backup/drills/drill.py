"""The restore drill: the newest backup of a database is restored into a separate server, compared with its
manifest, timed, and damaged on purpose to see that this is noticed. Nothing of it stays but the report.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pipeline.access import Access
from pipeline.backup.database.assertions import Assertion
from pipeline.backup.drills import attempt, controls, report
from pipeline.backup.drills.attempt import DrillWork
from pipeline.backup.drills.report import Report
from pipeline.backup.restoring import restore, roles
from pipeline.backup.restoring import target as targets
from pipeline.backup.restoring.restoration import Order, Restoration
from pipeline.backup.restoring.target import Target
from pipeline.backup.store import fetch
from pipeline.backup.store.manifest import Manifest
from pipeline.backup.work import work_folder
from pipeline.bucket import Bucket
from pipeline.chains import DRILL_TASK
from pipeline.errors import CheckError, PipelineError, StepError
from pipeline.names import MAXIMUM_BYTES
from pipeline.postgres import Connection
from pipeline.progress import Show, no_progress
from pipeline.redact import redact
from pipeline.settings import Settings

logger = logging.getLogger(__name__)

STEP = DRILL_TASK
PREFIX = "drill_"
MARK = "made by a restore drill of the pipeline"
# Any number that nobody else uses: one drill on a server at a time, so that each is timed alone.
LOCK = 0x6472696C6C
WAIT_SECONDS = 0.5
PHASES = ("download", "hash", "decrypt", "roles", "restore", "check", "control")


def drill_database(settings: Settings, database: str, month: str, show: Show = no_progress) -> Report:
    """Drill one database. The report is in the bucket, whether the backup was proven or not.

    Raise CheckError if it was not, StepError if the backup could not be tried (no room, a server that lacks
    something), UnreachableError if Vault, B2 or the server is.
    """
    settings.database(database)
    folder = DrillWork(settings, database, month)
    with attempt.stoppable(), folder.step(STEP, show), attempt.reading(settings) as (databases, bucket):
        # The first login may not remove what the second has made.
        server = targets.at(databases.drill_uri(superuser=True))
        shown = folder.shown(STEP, show)
        with server.opened() as connection, _alone(connection, shown):
            _sweep(connection, server)
            drill = _Drill(databases, bucket, month, shown, *attempt.newest(bucket, settings, database))
            try:
                drill.run()
            except (CheckError, StepError) as error:
                attempt.publish(databases, STEP, drill.report(error))
                raise
            finally:
                _sweep(connection, server)
        result = drill.report(None)
        attempt.publish(databases, STEP, result)
        if not result.held:
            raise CheckError(f"{database} {result.run}: " + "; ".join(result.failures))
        folder.write(work_folder.FINISHED, result)
        show(100, f"grade {result.grade}, restored in {result.recovery_seconds:,.0f} s")
        return result


@contextmanager
def _alone(connection: Connection, show: Show) -> Iterator[None]:
    """Wait until no other drill goes on there."""
    while True:
        with targets.alone(connection, LOCK) as got:
            if got:
                yield
                return
        show(None, "waiting for another drill to end")
        time.sleep(WAIT_SECONDS)


def _sweep(connection: Connection, server: Target) -> None:
    """Remove what drills made on the server, this one and any that was killed."""
    for name in targets.unfinished(connection, PREFIX):
        targets.drop(connection, server.on(name))
    roles.remove(connection, roles.marked(connection, MARK))


@dataclass
class _Drill:
    """One drill on its way, and what is known of it so far."""

    databases: Access
    bucket: Bucket
    month: str
    show: Show
    proven: Manifest
    remarks: tuple[str, ...]
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    seconds: dict[str, float] = field(default_factory=dict)
    assertions: tuple[Assertion, ...] = ()
    controls: tuple[Assertion, ...] = ()

    def run(self) -> None:
        """Restore, compare, and try what is damaged."""
        server = restore.server_for(self.databases, self.proven)
        with restore.work_folder(self.databases.settings) as folder:
            order = Order(self.proven.database, self.proven.run)
            job = Restoration(self.databases, self.bucket, self.proven, order, folder, self._show_phase)
            self.seconds = job.progress.seconds
            name = f"{PREFIX}{self.proven.database}"[:MAXIMUM_BYTES]
            job.require_fit(server, name)
            fetched = job.fetch()
            restored = job.into_new(server, name, fetched, mark=MARK)
            self.assertions, self.remarks = restored.assertions, (*self.remarks, *restored.remarks)
            self._show_phase("control", 0.0, "")
            self.controls = (
                controls.damaged_copy(self.proven, fetched, fetch.key(self.databases), folder),
                controls.altered_row(restored),
            )

    def _show_phase(self, phase: str, share: float, message: str) -> None:
        done = (PHASES.index(phase) + share) / len(PHASES)
        self.show(min(int(done * 100), 99), f"{phase} {message}".strip())

    def report(self, error: PipelineError | None) -> Report:
        """Return the report of all that is known."""
        deadline = self.databases.settings.require_drill().deadline_minutes * 60.0
        recovery = sum(self.seconds.values())
        whole = error is None
        fact = redact(error.fact) if error else None
        size = self.proven.contents.database.size_bytes
        return Report.model_validate(
            {
                "database": self.proven.database,
                "month": self.month,
                "run": self.proven.run,
                "taken_at": self.proven.taken_at,
                "started_at": self.started_at,
                "finished_at": datetime.now(UTC),
                "size_bytes": size,
                "dump_bytes": self.proven.dump.encrypted.size_bytes,
                "seconds": {phase: round(took, 3) for phase, took in self.seconds.items()},
                "recovery_seconds": round(recovery, 3),
                "deadline_seconds": deadline,
                "limit_bytes": report.limit_bytes(size, recovery, deadline) if whole else None,
                "assertions": self.assertions,
                "controls": self.controls,
                "remarks": self.remarks,
                "error": fact,
                "hint": redact(error.hint) if error else "",
                "schema_sha256": self.proven.contents.schema_sha256,
                "recipients_sha256": self.proven.recipients_sha256,
                "grade": report.grade(
                    (*self.assertions, *self.controls), self.remarks, in_time=recovery <= deadline, error=fact
                ),
            }
        )
