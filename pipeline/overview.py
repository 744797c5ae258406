"""What is known of every chain: from the ledger and this machine's work folder, or without the ledger."""

import dataclasses
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline import access, catalog, chains, family, fence, ledger, postgres, runs
from pipeline.access import Access
from pipeline.audit import proofs
from pipeline.audit.proofs import Proof
from pipeline.backup import attempts, backups
from pipeline.backup.attempts import KILLED
from pipeline.errors import PipelineError
from pipeline.loading import load
from pipeline.postgres import Connection
from pipeline.runs import Run
from pipeline.settings import Settings
from pipeline.step import Step, StepKey
from pipeline.watch import limits

ETL = chains.ETL.name
FAILED, RUNNING, STALE = "failed", "running", "stale"


@dataclass(frozen=True)
class Backup:
    """The newest backup of a database; all None where there is none."""

    database: str
    run: str | None = None
    taken_at: datetime | None = None
    size_bytes: int | None = None
    verified: bool = False
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class Drill:
    """The newest drill of a database, and what did not hold."""

    database: str
    month: str
    held: bool
    grade: str
    seconds: float
    finished_at: datetime
    error: str | None


@dataclass(frozen=True)
class Overview:
    """Every chain at this moment. `remarks` say what could not be looked at.

    `steps` are those of the load; `others` the backups and drills that go on, failed or were killed. A load
    that began longer ago than `limit` is stale, as `pipeline watch` finds.
    """

    run: Run | None = None
    steps: Sequence[Step] = ()
    fresh: Sequence[tuple[str, datetime, int]] = ()
    not_begun: Sequence[str] = ()
    backups: Sequence[Backup] = ()
    drills: Sequence[Drill] = ()
    others: Sequence[Step] = ()
    remarks: list[str] = field(default_factory=list)
    limit: timedelta = timedelta()
    # Of every loaded table, by source.table.
    proofs: Mapping[str, Proof] = field(default_factory=dict)

    @property
    def failures(self) -> list[Step]:
        """Return the steps that failed or were killed, of all chains."""
        drilled = [
            Step(
                StepKey(one.month, attempts.DRILL, one.database), FAILED,
                one.finished_at - timedelta(seconds=one.seconds), one.finished_at, None, {}, one.error, 4,
            )
            for one in self.drills
            if not one.held
        ]  # fmt: skip
        failed = [step for step in [*self.steps, *self.others] if step.state == FAILED]
        told = {(step.key.task, step.key.name) for step in failed}
        return [*failed, *(one for one in drilled if (one.key.task, one.key.name) not in told)]

    @property
    def load_state(self) -> str:
        """Return how the load is: ok, failed, running or stale."""
        if self.run is None:
            return STALE
        if self.run.actual_state in (FAILED, RUNNING):
            return self.run.actual_state
        return "ok" if datetime.now(UTC) - self.run.started_at <= self.limit else STALE

    @property
    def state(self) -> str:
        """Return how everything is, in the same words."""
        if self.load_state == RUNNING or any(step.state == RUNNING for step in self.others):
            return RUNNING
        return FAILED if self.failures else self.load_state


def look(databases: Access, warehouse: Connection, run: str | None) -> Overview:
    """Return what the ledger and the work folder know: of this run, or of the latest load."""
    settings, found = databases.settings, runs.find(warehouse, ETL, run)
    recorded = ledger.steps(warehouse, found.run) if found else []
    steps = [_truthful(warehouse, found, step) for step in recorded]
    backups, drills = _with_missing(settings, _backups(warehouse)), _drills(warehouse)
    return Overview(
        run=found,
        steps=steps,
        fresh=load.fresh_as_of(warehouse),
        not_begun=_not_begun(settings, found, steps),
        backups=backups,
        drills=drills,
        others=_others(settings, run, backups, drills),
        limit=limits.run(settings),
        proofs=_proofs(warehouse),
    )


def _proofs(warehouse: Connection) -> Mapping[str, Proof]:
    if postgres.value(warehouse, "SELECT to_regclass('ops.audit')") is None:
        return {}
    return proofs.read(warehouse)


def look_without_ledger(settings: Settings, run: str | None) -> Overview:
    """Return what the bucket and the work folder alone can tell; what is out of reach is a remark."""
    found: list[Backup] = []
    remarks = []
    if settings.backup is not None:
        try:
            found = _backups_in_bucket(settings)
        except PipelineError as error:
            remarks.append(f"what backups there are cannot be told: {error}")
    if not remarks:
        found = _with_missing(settings, found)
    return Overview(backups=found, others=_others(settings, run, found), remarks=remarks)


def _truthful(warehouse: Connection, run: Run | None, step: Step) -> Step:
    """Return a step as it is: one that says running, but whose process is gone, has failed."""
    if step.state != RUNNING or (run and run.alive) or _is_at_work(warehouse, step):
        return step
    return dataclasses.replace(step, state=FAILED, error=KILLED)


def _is_at_work(warehouse: Connection, step: Step) -> bool:
    """Whether somebody is still at a step of no living run: an assistant, or what plain Luigi started."""
    found = postgres.row(
        warehouse,
        """
        SELECT host, pid, seen_at > clock_timestamp() - make_interval(secs => %s) FROM ops.step
        WHERE run = %s AND task = %s AND name = %s
        """,
        (fence.SILENT_SECONDS, step.key.run, step.key.task, step.key.name),
    )
    if found is None:
        return False
    host, pid, heard_of = found
    if host != socket.gethostname():
        # A worker of another machine says now and then that it is there.
        return bool(heard_of)
    return family.is_at_work(pid, step.started_at.timestamp())


def _not_begun(settings: Settings, run: Run | None, steps: Sequence[Step]) -> list[str]:
    """Return the declared tables and marts that a run which did not end well never came to."""
    if run is None or run.actual_state != FAILED or settings.analysts is None:
        return []
    try:
        catalogued = catalog.read(settings.analysts.checkout)
    except PipelineError:
        return []  # told by who loads by it
    declared = {f"{name}.{table}" for name, found in catalogued.sources.items() for table in found.tables}
    declared |= {f"{chains.MART.schema}.{mart}" for mart in catalogued.marts}
    return sorted(declared - {step.key.name for step in steps})


def _with_missing(settings: Settings, found: Sequence[Backup]) -> list[Backup]:
    known = {backup.database for backup in found}
    missing = [Backup(name) for name in settings.databases if name not in known]
    return sorted([*found, *missing], key=lambda one: one.database)


def _backups(warehouse: Connection) -> list[Backup]:
    query = """
        SELECT DISTINCT ON (database) database, run, taken_at, size_bytes, true, warnings
        FROM ops.backup ORDER BY database, taken_at DESC
        """
    return [Backup(*found) for found in _rows(warehouse, "ops.backup", query)]


def _backups_in_bucket(settings: Settings) -> list[Backup]:
    with access.opened(settings) as databases, backups.reading(databases) as bucket:
        listing = backups.find(bucket)
    newest = {one.database: one for one in listing.backups}
    return [
        Backup(one.database, one.run, one.taken_at, one.size_bytes, one.verified) for one in newest.values()
    ]


def _drills(warehouse: Connection) -> list[Drill]:
    query = """
        SELECT DISTINCT ON (database) database, month, held, grade, recovery_seconds, finished_at, coalesce(
            report ->> 'error',
            (SELECT string_agg((one ->> 'name') || ': ' || (one ->> 'detail'), '; ')
             FROM jsonb_array_elements((report -> 'assertions') || (report -> 'controls')) AS one
             WHERE one ->> 'held' = 'false'))
        FROM ops.drill ORDER BY database, finished_at DESC
        """
    return [Drill(*found) for found in _rows(warehouse, "ops.drill", query)]


def _rows(warehouse: Connection, table: str, query: str) -> list[tuple[Any, ...]]:
    """Return the rows of a table of the ledger, none where that is older than the table."""
    if postgres.value(warehouse, "SELECT to_regclass(%s)", (table,)) is None:
        return []
    return postgres.rows(warehouse, query)


def _others(
    settings: Settings, run: str | None, known: Sequence[Backup], drills: Sequence[Drill] = ()
) -> list[Step]:
    """Return the backups and drills that are not complete, but for those that a later one made up for."""
    if settings.backup is None:
        return []
    newest = {backup.database: backup.run or "" for backup in known}
    found = [step for name in settings.databases for step in attempts.backups(settings.backup, name)]
    wanted = [
        step
        for step in found
        if (step.key.run == run if run else step.key.run > newest.get(step.key.name, ""))
    ]
    held = {drill.database: drill.finished_at for drill in drills if drill.held}
    drilling = [
        step
        for step in attempts.drills(settings.backup)
        if step.key.name not in held or step.started_at > held[step.key.name]
    ]
    return [*wanted, *drilling]
