"""What watch knows when it judges: plain facts, each from one place, without an opinion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from pipeline.audit.proofs import Proof
from pipeline.backup.pgbackrest.repository import Repository
from pipeline.backup.store.backups import Backup, Hidden
from pipeline.catalog import Source
from pipeline.crypt import Recipient
from pipeline.ledger.runs import Run
from pipeline.step import Step


@dataclass(frozen=True)
class Failing:
    """How a table fails since it was last loaded: the newest failed step, since when, in how many runs."""

    task: str
    run: str
    error: str
    exit_code: int | None
    since: datetime
    runs: int
    # What is to be fixed, and from which step on it is to be done over, where the error said so.
    hint: str | None = None
    again: str | None = None


@dataclass(frozen=True)
class TableObservations:
    """A table, or a whole source, as the ledger has it.

    `fresh_as_of` is the moment of the source that it shows, `loaded_at` when that was done, both None if it
    never was; `first_tried_at` when a step of it first began.
    """

    fresh_as_of: datetime | None = None
    loaded_at: datetime | None = None
    first_tried_at: datetime | None = None
    failing: Failing | None = None


@dataclass(frozen=True)
class DrillObservations:
    """The newest drill of a database, held or not, and when one last held."""

    month: str
    grade: str
    held: bool
    finished_at: datetime
    held_at: datetime | None


def newest(drills: Sequence[DrillObservations]) -> DrillObservations:
    """Return the newest of a database's drills, with what all of them know of when one last held."""
    held = max((one.held_at for one in drills if one.held_at), default=None)
    return replace(max(drills, key=lambda one: one.finished_at), held_at=held)


@dataclass(frozen=True)
class LedgerObservations:
    """What the warehouse says. `run` is the latest by its date; `seconds` what runs usually take."""

    run: Run | None = None
    # The one that goes on, or was killed and not begun again.
    going: Run | None = None
    # By source.table; a source's own steps by its name alone.
    tables: Mapping[str, TableObservations] = field(default_factory=dict)
    # By source.table.
    proofs: Mapping[str, Proof] = field(default_factory=dict)
    # By the task that makes them, of our backups or of what pgBackRest has, and by database.
    drills: Mapping[str, Mapping[str, DrillObservations]] = field(default_factory=dict)
    first_backups: Mapping[str, datetime] = field(default_factory=dict)
    # By source: who kept its horizon back for long, as of the last snapshot.
    held_back: Mapping[str, Sequence[str]] = field(default_factory=dict)
    # By source: which standby it was read from that is behind, as of the last snapshot.
    behind: Mapping[str, str] = field(default_factory=dict)
    # By run: "etl", "backup hr".
    seconds: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class BucketObservations:
    """What the bucket has. `incomplete` are the runs by database whose uploads have no manifest.

    `hidden` are the backups that are still there below a marker that somebody made who is not to.
    `rule_problems` is what its lifecycle rules and lock lack; None if no key to read them is named.
    """

    name: str
    backups: tuple[Backup, ...] = ()
    incomplete: tuple[tuple[str, str], ...] = ()
    hidden: tuple[Hidden, ...] = ()
    # As in the ledger.
    drills: Mapping[str, Mapping[str, DrillObservations]] = field(default_factory=dict)
    rule_problems: tuple[str, ...] | None = None

    def of(self, database: str) -> tuple[Backup, ...]:
        """Return the backups of one database, the oldest first."""
        return tuple(backup for backup in self.backups if backup.database == database)


@dataclass(frozen=True)
class KeyObservations:
    """A file of [backup] recipients: the public key in it, or what is wrong with it."""

    file: str
    recipient: Recipient | None
    problem: str | None


@dataclass(frozen=True)
class Work:
    """Work that began and did not end, alive or not; `place` says where.

    Its name is `etl`, `backup hr`, `drill` or, of what pgBackRest has, `archive-drill`.

    Of what was killed, `since` is when there was last word of it.
    """

    name: str
    run: str
    since: datetime
    alive: bool
    place: str


@dataclass(frozen=True)
class Program:
    """A file of the analysts' own tasks: the run in which it was last done, and when; `step` if not since.

    `records` is where this machine keeps that, None if it never ran any. `was_killed`: nobody saw it end.
    """

    name: str
    # When it was written into the analysts' repository here.
    declared_at: datetime
    run: str | None = None
    done_at: datetime | None = None
    step: Step | None = None
    records: Path | None = None
    was_killed: bool = False
    # Whether that is longer ago than its limit, where that was judged.
    is_stale: bool = False

    @property
    def file(self) -> str:
        """Return what people call it."""
        return f"tasks/{self.name}.py"


@dataclass(frozen=True)
class Unseen:
    """What could not be observed, and why."""

    subject: str
    error: str


@dataclass(frozen=True)
class Declared:
    """What the analysts declare, with when each was written: tables by source, and marts."""

    tables: Mapping[str, Mapping[str, datetime]]
    marts: Mapping[str, datetime]
    # As their files have them, without what `*` brings.
    sources: Mapping[str, Source] = field(default_factory=dict)
    # By mart, the tables and marts that it reads.
    reads: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Observations:
    """Everything. What is None was not looked at, or could not be: then `unseen` says why."""

    # By source and table, when that was written into the analysts' repository here.
    declared: Mapping[str, Mapping[str, datetime]] | None = None
    # By mart, likewise.
    marts: Mapping[str, datetime] | None = None
    ledger: LedgerObservations | None = None
    bucket: BucketObservations | None = None
    # By database, of those that have one.
    repositories: Mapping[str, Repository] = field(default_factory=dict)
    keys: tuple[KeyObservations, ...] = ()
    # Of this machine.
    work: tuple[Work, ...] | None = None
    # When a sync of the analysts' repository last ended here, as far as that is known.
    synced_at: datetime | None = None
    # The analysts' own tasks, as this machine knows.
    programs: tuple[Program, ...] | None = None
    # The things that were looked at.
    seen: tuple[str, ...] = ()
    unseen: tuple[Unseen, ...] = ()
