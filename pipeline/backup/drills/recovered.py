"""What a server that came out of an archive of WAL has to be: sentences, each held or not.

Each compares what the restored server says with what somebody else knows: our own backup's manifest, which
the source gave over SQL, or the list of files in the repository.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pipeline import durations, outage
from pipeline.backup.database.assertions import Assertion
from pipeline.backup.pgbackrest.repository import Repository, Stored
from pipeline.backup.store.manifest import Manifest, Table

# A segment's name: its timeline, and its number in two parts, eight digits each.
DIGITS, WHOLE = 8, 1 << 32


@dataclass(frozen=True)
class Recovered:
    """How far recovery got: `position` is the LSN in bytes, `recovered_to` the last transaction's moment."""

    system_identifier: str
    lsn: str
    position: int
    recovered_to: datetime | None
    segment_bytes: int


def position(lsn: str) -> int:
    """Return an LSN in bytes.

    >>> position("1/10")
    4294967312
    """
    high, low = lsn.split("/")
    return int(high, 16) * WHOLE + int(low, 16)


def begin(segment: str, segment_bytes: int) -> int:
    """Return the position at which a segment of WAL begins, in bytes.

    >>> begin("000000010000000100000002", 1 << 24) == (1 << 32) + 2 * (1 << 24)
    True
    """
    high, low = segment[DIGITS : 2 * DIGITS], segment[2 * DIGITS :]
    return (int(high, 16) * (WHOLE // segment_bytes) + int(low, 16)) * segment_bytes


def same_server(after: Recovered, proven: Manifest) -> Assertion:
    """Say whether it is the server that our backup is of."""
    name, wanted = "server", proven.contents.database.system_identifier
    if wanted is None:
        detail = (
            f"the backup of run {proven.run} has no system identifier: it was made by an older "
            "version; make a new one"
        )
        return Assertion(name=name, held=None, detail=detail)
    if after.system_identifier != wanted:
        detail = f"its system identifier is {after.system_identifier}, and our backup's server has {wanted}"
        return Assertion(name=name, held=False, detail=detail)
    return Assertion(name=name, held=True, detail=f"the server of our backup, system identifier {wanted}")


def whole_archive(after: Recovered, before: Repository, began_at: datetime) -> Assertion:
    """Say whether all of the WAL was replayed that the repository had before: at a gap recovery just ends."""
    name = "end of the archive"
    if before.wal is None:
        return Assertion(name=name, held=None, detail="the repository has no WAL")
    if after.position <= begin(before.wal, after.segment_bytes):
        detail = (
            f"recovery ended at {after.lsn}, and the repository has WAL up to {before.wal}: some in between "
            "is missing or damaged, and everything written after it is lost"
        )
        return Assertion(name=name, held=False, detail=detail)
    last = "no transaction was replayed"
    if after.recovered_to:
        ago = durations.rough(max(began_at - after.recovered_to, began_at - began_at))
        last = (
            f"the last transaction is from {after.recovered_to:%Y-%m-%d %H:%M:%S} UTC, {ago} before the drill"
        )
    return Assertion(
        name=name, held=True, detail=f"replayed up to {after.lsn}, in {before.wal} or later; {last}"
    )


def as_far_as_backup(after: Recovered, proven: Manifest) -> Assertion:
    """Say whether the archive has all that our own backup of the night has."""
    name, wanted = "our backup", proven.contents.database.wal_lsn
    if wanted is None:
        detail = f"the backup of run {proven.run} has no LSN: it was made by an older version; make a new one"
        return Assertion(name=name, held=None, detail=detail)
    lacking = position(wanted) - after.position
    if lacking <= 0:
        return Assertion(
            name=name, held=True, detail=f"everything up to the backup of run {proven.run}, LSN {wanted}"
        )
    what = f"it ends at {after.lsn}, before the backup of run {proven.run}, whose LSN is {wanted}"
    if lacking <= after.segment_bytes:
        detail = f"{what}: the server had not archived that segment of WAL yet; set archive_timeout there"
        return Assertion(name=name, held=None, detail=detail)
    return Assertion(name=name, held=False, detail=f"{what}: {lacking:,} bytes of WAL are missing")


def tables(counted: Sequence[Table], proven: Manifest) -> Assertion:
    """Say that every table was read, and how many have the very rows that they had in our backup.

    The others were written to since: that is no fault. Where all of them were, or one is gone or empty, it
    may be one, and nothing here can tell: a person is to judge.
    """
    now: Mapping[str, Table] = {one.full_name: one for one in counted}
    wanted = proven.contents.tables
    same = [one for one in wanted if one.full_name in now and now[one.full_name].checksum == one.checksum]
    gone = [one.full_name for one in wanted if one.full_name not in now]
    rows = sum(one.rows for one in counted)
    detail = (
        f"{len(counted)} tables, {rows:,} rows read in full; {len(same)} of {len(wanted)} are the same as "
        f"in our backup of run {proven.run}"
    )
    if gone:
        detail += f"; missing (dropped since, or lost): {outage.few(gone)}"
    had_rows = [one.full_name for one in wanted if one.rows]
    empty = [name for name in had_rows if name in now and not now[name].rows]
    if empty:
        detail += f"; empty (emptied since, or lost): {outage.few(empty)}"
    is_sure = not gone and not empty and (bool(same) or not wanted)
    return Assertion(name="tables", held=True if is_sure else None, detail=detail)


def not_drilled(before: Repository, backup: Stored) -> tuple[str, ...]:
    """Say of which repositories no backup was restored: one drill is of one backup."""
    others = [f"repo{key}" for key in before.repos if key != backup.repo]
    if not others:
        return ()
    return (f"not drilled: {', '.join(others)}; the newest backup, {backup.label}, is in repo{backup.repo}",)


def sound_backup(before: Repository) -> Assertion:
    """Say what pgBackRest found of the pages as it made the backup."""
    name = "backup"
    if before.backup and before.backup.is_damaged:
        detail = f"{before.backup.label} has pages with a wrong checksum, according to pgBackRest"
        return Assertion(name=name, held=False, detail=detail)
    kind = f"{before.backup.kind}, {before.backup.label}" if before.backup else ""
    return Assertion(name=name, held=True, detail=f"{kind}: no damaged page, according to pgBackRest")
