"""What an overview has: tables, backups and drills with their age, and all that is open."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from pipeline.audit.proofs import Proof
from pipeline.ledger.runs import Run
from pipeline.ledger.waiting import Waiting
from pipeline.ledger.watermarks import Fresh
from pipeline.observe.observed.archive import Backup, Drill
from pipeline.observe.observed.observations import Program
from pipeline.observe.overview.repositories import Archive
from pipeline.step import State, Step


class Status(StrEnum):
    """How a table, a run or everything is."""

    OK = "ok"
    RUNNING = "running"
    # Older than its limit.
    STALE = "stale"
    FAILED = "failed"


@dataclass(frozen=True)
class Table:
    """A table, or mart, that is declared.

    `as_of` is the moment of the source that it shows, or when the mart was built; None if it shows none yet.

    `state` is failed where it did so since it was last loaded; `last` the load that it shows.
    """

    name: str
    as_of: datetime | None
    rows: int | None
    state: Status
    last: Step | None


@dataclass(frozen=True)
class Undone:
    """A run that failed or was killed, and the tables that no failure of their own kept from being loaded.

    `lacking`: by mart among them, what it reads and that run has not either.
    """

    run: Run
    tables: Sequence[str]
    lacking: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Overview:
    """Every chain at this moment. `remarks` say what could not be observed, or is nobody's.

    `run` is the latest load, or the one that was asked for (`of_one_run`), and `steps` are its steps. `open`
    are the steps of loads that failed, in whichever run, and were not made up for since; `undone` the runs
    that failed otherwise. `others` are the backups, drills, tasks of analysts and steps of plain chains that
    go on, failed or were killed. A load that was begun longer ago than `limit` is stale, as `pipeline watch`
    finds.
    """

    run: Run | None = None
    of_one_run: bool = False
    steps: Sequence[Step] = ()
    open: Sequence[Step] = ()
    undone: Sequence[Undone] = ()
    tables: Sequence[Table] = ()
    # What is loaded, also of tables that are no longer declared.
    fresh: Sequence[Fresh] = ()
    backups: Sequence[Backup] = ()
    # Of both kinds.
    drills: Sequence[Drill] = ()
    # What the servers have of their own beside our backups.
    archives: Sequence[Archive] = ()
    others: Sequence[Step] = ()
    programs: Sequence[Program] = ()
    # The steps that have not begun, since another worker is at their table.
    waiting: Sequence[Waiting] = ()
    remarks: Sequence[str] = field(default_factory=list)
    limit: timedelta = timedelta()
    # By source: who kept its horizon back for long, as of its last snapshot.
    held_back: Mapping[str, Sequence[str]] = field(default_factory=dict)
    # By source: which standby it was read from that is behind, likewise.
    behind: Mapping[str, str] = field(default_factory=dict)
    # Of every loaded table, by source.table.
    proofs: Mapping[str, Proof] = field(default_factory=dict)

    def drills_of(self, task: str) -> dict[str, Drill]:
        """Return the drills that this task made, by database: of our backups, or of what pgBackRest has."""
        return {one.database: one for one in self.drills if one.task == task}

    @property
    def differing(self) -> list[str]:
        """Return the tables that an audit found not to be equal to their sources."""
        return [] if self.of_one_run else [name for name, proof in self.proofs.items() if proof.differs]

    @property
    def failures(self) -> list[Step]:
        """Return the steps that failed or were killed and are not made up for, of all chains."""
        failed = [*self.open, *(step for step in self.others if step.state == State.FAILED)]
        reported = {(step.key.task, step.key.name) for step in failed}
        drilled = [one.as_failure() for one in self.drills if not one.held and not self.of_one_run]
        return [*failed, *(one for one in drilled if (one.key.task, one.key.name) not in reported)]

    @property
    def stale_tables(self) -> list[str]:
        """Return the tables that are older than their limit, but for those that failed."""
        return [table.name for table in self.tables if table.state == Status.STALE]

    @property
    def stale_databases(self) -> list[str]:
        """Return the databases whose newest backup or drill is older than its limit."""
        if self.of_one_run:
            return []
        late = {one.database for one in self.backups if one.is_stale}
        return sorted(late | {one.database for one in self.drills if one.is_stale})

    @property
    def stale_programs(self) -> list[Program]:
        """Return the files of tasks that are older than their limit, but for those that failed."""
        late = [one for one in self.programs if one.is_stale and one.step is None]
        return [] if self.of_one_run else late

    @property
    def wrong_archives(self) -> list[Archive]:
        """Return the repositories of pgBackRest with which something is wrong."""
        return [] if self.of_one_run else [one for one in self.archives if one.problems]

    @property
    def load_state(self) -> Status:
        """Return how the run is."""
        if self.run is None:
            return Status.STALE
        if self.run.actual_state != State.DONE:
            return Status(self.run.actual_state)
        in_time = datetime.now(UTC) - self.run.attempted_at <= self.limit
        return Status.OK if in_time or self.of_one_run else Status.STALE

    @property
    def state(self) -> Status:
        """Return the worst of everything; of one run, if that was asked for."""
        if self.failures or self.undone or self.differing:
            return Status.FAILED
        is_late = self.stale_tables or self.stale_databases or self.stale_programs or self.wrong_archives
        if is_late or (self.run and self.load_state == Status.STALE):
            return Status.STALE
        others = any(one.state == State.RUNNING for one in self.others)
        if (self.run and self.load_state == Status.RUNNING) or others:
            return Status.RUNNING
        return self.load_state if self.of_one_run and self.run else Status.OK
