"""What a restore drill found: graded, and kept in the bucket beside the backup that it was about."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.backup.database.assertions import Assertion
from pipeline.backup.store import manifest
from pipeline.bucket import Stored
from pipeline.choice import Choice
from pipeline.errors import CheckError

if TYPE_CHECKING:
    from pipeline.bucket import Bucket

CONTENT_TYPE = "application/json"


class Origin(Choice):
    """What is restored in a drill: our own backup, or the archive that pgBackRest has beside it."""

    BACKUP = "backup"
    PGBACKREST = "pgbackrest"


# What the names of their reports begin with.
_BEGINS = {Origin.BACKUP: "drill-", Origin.PGBACKREST: "pgbackrest-"}


class Grade(Choice):
    """How a drill ended; A and B hold."""

    A = "A"
    B = "B"
    C = "C"
    F = "F"


# What the grades mean.
GRADES = {
    Grade.A: "restored and equal to the original, in time",
    Grade.B: "restored and equal to the original, in time; some of it could not be checked, or was left out",
    Grade.C: "restored and equal to the original, but over the deadline",
    Grade.F: "the backup was not restored, or differs from the database that was backed up",
}
HOLDING = (Grade.A, Grade.B)


class Report(BaseModel):
    """One drill. `seconds` has the phases in their order; `recovery_seconds` is from the start to the proof.

    `limit_bytes` is the size of database at which the deadline would be broken, if time grows with size. Of
    pgBackRest's archive `run` is our backup that it was compared with, `label` what it calls its own, and
    `recovered_to` the moment of the last transaction that came back.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    version: Literal[1] = 1
    origin: Origin = Origin.BACKUP
    label: str | None = None
    recovered_to: datetime | None = None
    database: str
    month: str
    run: str
    taken_at: datetime
    started_at: datetime
    finished_at: datetime
    size_bytes: int
    dump_bytes: int
    seconds: Mapping[str, float]
    recovery_seconds: float
    deadline_seconds: float
    limit_bytes: int | None
    assertions: tuple[Assertion, ...]
    controls: tuple[Assertion, ...]
    remarks: tuple[str, ...]
    error: str | None
    # What is to be fixed, where the error says so.
    hint: str = ""
    # Those of the manifest: what the drill has proven.
    schema_sha256: str | None = None
    recipients_sha256: str | None = None
    grade: Grade

    @property
    def held(self) -> bool:
        """Whether the backup was proven."""
        return self.grade in HOLDING

    @property
    def failures(self) -> tuple[str, ...]:
        """Return what did not hold, for people."""
        lines = [
            f"{one.name}: {one.detail}" for one in (*self.assertions, *self.controls) if one.held is False
        ]
        if self.error:
            lines.append(self.error)
        if not lines and self.recovery_seconds > self.deadline_seconds:
            lines.append(
                f"it took {self.recovery_seconds / 60:,.1f} minutes, more than the deadline of "
                f"{self.deadline_seconds / 60:g}"
            )
        return tuple(lines)

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what could not be checked, or was left out."""
        open_ = [
            f"{one.name}: {one.detail}" for one in (*self.assertions, *self.controls) if one.held is None
        ]
        return (*open_, *self.remarks)


def grade(
    assertions: tuple[Assertion, ...], remarks: tuple[str, ...], *, in_time: bool, error: str | None
) -> Grade:
    """Return the grade of a drill; `assertions` are the controls' as well.

    >>> grade((Assertion(name="tables", held=True, detail=""),), (), in_time=True, error=None)
    <Grade.A: 'A'>
    >>> grade((Assertion(name="amcheck", held=None, detail=""),), (), in_time=True, error=None)
    <Grade.B: 'B'>
    """
    states = {one.held for one in assertions}
    if error or False in states:
        return Grade.F
    if not in_time:
        return Grade.C
    return Grade.B if remarks or None in states else Grade.A


def limit_bytes(size_bytes: int, seconds: float, deadline_seconds: float) -> int | None:
    """Return the size at which the deadline would be broken if the time grows as the size does.

    >>> limit_bytes(10_000_000, 60.0, 1800.0)
    300000000
    """
    return int(size_bytes * deadline_seconds / seconds) if seconds > 0 else None


def name(database: str, run: str, month: str, origin: Origin = Origin.BACKUP) -> str:
    """Return the name of the report's object."""
    return f"{manifest.prefix(database, run)}{_BEGINS[origin]}{month}.json"


def write(bucket: "Bucket", report: Report) -> None:
    """Put a report beside its backup, in place of an earlier one of the same month."""
    bucket.write_small(
        name(report.database, report.run, report.month, report.origin),
        report.model_dump_json(indent=1).encode() + b"\n",
        content_type=CONTENT_TYPE,
        info={
            "month": report.month,
            "grade": report.grade,
            "finished-at": report.finished_at.isoformat(),
            **({"schema": report.schema_sha256} if report.schema_sha256 else {}),
            **({"recipients": report.recipients_sha256} if report.recipients_sha256 else {}),
        },
        replace=True,
    )


def find(bucket: "Bucket", database: str, month: str, origin: Origin = Origin.BACKUP) -> Stored | None:
    """Return the newest report of a month, held or not, None if there is none."""
    ending = f"/{_BEGINS[origin]}{month}.json"
    reports = [
        one for one in bucket.list(f"{database}/") if one.name.endswith(ending) and is_report(one, origin)
    ]
    return max(reports, key=lambda one: one.info.get("finished-at", ""), default=None)


def all_of(bucket: "Bucket", database: str, origin: Origin = Origin.BACKUP) -> list[Stored]:
    """Return every report of a database, the oldest first."""
    reports = [one for one in bucket.list(f"{database}/") if is_report(one, origin)]
    return sorted(reports, key=lambda one: one.info["finished-at"])


def is_report(stored: Stored, origin: Origin = Origin.BACKUP) -> bool:
    """Whether an object is a report. Its file info has what lists need: month, grade, finished-at."""
    return stored.name.rpartition("/")[2].startswith(_BEGINS[origin]) and "finished-at" in stored.info


def read(bucket: "Bucket", stored: Stored) -> Report:
    """Return the report that `find` found. Raise CheckError if it is none."""
    try:
        return Report.model_validate_json(bucket.read_small(stored.name))
    except ValidationError:
        raise CheckError(
            f"bucket {bucket.name}: {stored.name} is not a report that this version can read"
        ) from None
