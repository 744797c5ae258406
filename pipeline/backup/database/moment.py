"""The moment of a backup: how old what it has is, and what is to be said of that."""

from collections.abc import Iterator
from datetime import datetime

from pipeline.postgres import snapshot
from pipeline.postgres.snapshot import Snapshot

# So much may a server's clock differ from ours without a word.
CLOCK_SECONDS = 60


def shown(taken: Snapshot, now: datetime) -> datetime:
    """Return the moment of the database that a snapshot shows, which was taken just `now`.

    It is by our clock, which B2 holds to its own: by a server's, an old backup could pass for the newest. Of
    a standby that is behind it is as long ago as what that has.
    """
    return now - (taken.taken_at - taken.as_of)


def warnings(name: str, taken: Snapshot, now: datetime) -> Iterator[str]:
    """Yield what is wrong with the clock of a server, and with how it follows another one."""
    yield from clock_warnings(name, taken.taken_at, now)
    if taken.behind:
        yield (
            f"{name}: its server is {snapshot.standby(taken)}: the backup has nothing later, and has that "
            "date; resume its replication"
        )


def clock_warnings(name: str, theirs: datetime, ours: datetime) -> tuple[str, ...]:
    """Return a warning if the clock of a server differs from ours.

    >>> from datetime import UTC
    >>> noon = datetime(2026, 11, 22, 12, tzinfo=UTC)
    >>> clock_warnings("database hr", noon, noon)
    ()
    >>> clock_warnings("database hr", datetime(2026, 11, 21, 12, tzinfo=UTC), noon)
    ("database hr: its server's clock is 86,400 seconds behind this machine's; set the one that is wrong",)
    """
    behind = (ours - theirs).total_seconds()
    if abs(behind) <= CLOCK_SECONDS:
        return ()
    how = "behind" if behind > 0 else "ahead of"
    warning = (
        f"its server's clock is {abs(behind):,.0f} seconds {how} this machine's; set the one that is wrong"
    )
    return (f"{name}: {warning}",)
