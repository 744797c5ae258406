"""The backups that do not go by their age: copies of the newest, and of one a month, where no rule of the
bucket reaches them. If backups stop, the last ones stay.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING

from pipeline.backup.store import backups, manifest
from pipeline.backup.store.backups import Backup, Hidden, Listing
from pipeline.backup.store.signature import Signature
from pipeline.bucket import KEPT, Stored, Version
from pipeline.crypt import Signers
from pipeline.settings import BackupSettings, Settings

if TYPE_CHECKING:
    from pipeline.bucket import Bucket

MONTHS_PER_YEAR = 12


def wanted(there: Sequence[Backup], *, last: int, months: int) -> frozenset[str]:
    """Return the runs of one database to keep: the newest `last`, and the first of each of the last `months`.

    Months are counted from the newest backup and not from today: nothing is given up while none is made.
    """
    sound = sorted((one for one in there if one.sound), key=lambda one: one.taken_at)
    if not sound:
        return frozenset()
    kept = {one.run for one in sound[-last:]} if last else set()
    first: dict[int, str] = {}
    for one in sound:
        first.setdefault(_month(one.taken_at), one.run)
    newest = _month(sound[-1].taken_at)
    return frozenset(kept | {run for month, run in first.items() if month > newest - months})


def hidden_copies(
    versions: Iterable[Version], listing: Listing, known: Signers | None, backup: BackupSettings
) -> tuple[Hidden, ...]:
    """Return the copies that are to be kept, and that somebody hid: we hide those alone that are not."""
    below: dict[tuple[str, str], dict[str, Stored]] = {}
    markers: dict[tuple[str, str], datetime] = {}
    for name, of_name in groupby(versions, lambda one: one.name):
        path = name.removeprefix(KEPT).split("/")
        if not name.startswith(KEPT) or len(path) != backups.PARTS:
            continue
        newest, *older = of_name
        key, plain = (path[0], path[1]), name.removeprefix(KEPT)
        if stored := next((one.stored for one in (newest, *older) if one.stored), None):
            below.setdefault(key, {})[plain] = stored
        if newest.stored is None and plain == manifest.manifest_name(*key):
            markers[key] = newest.made_at
    missed = []
    gone = [backups.assembled(*key, below.get(key, {}), known) for key in markers]
    for database in sorted({database for database, _ in markers}):
        of_it = [one for one in gone if one and one.database == database]
        there = {one.run: one for one in (*listing.of(database), *of_it)}
        runs = wanted(list(there.values()), last=backup.keep_last, months=backup.keep_months)
        missed += [Hidden(database, one.run, markers[database, one.run]) for one in of_it if one.run in runs]
    return tuple(missed)


def _now() -> datetime:
    return datetime.now(UTC)


def _month(moment: datetime) -> int:
    return moment.year * MONTHS_PER_YEAR + moment.month


def keep(reading: "Bucket", writing: "Bucket", settings: Settings, database: str) -> None:
    """Copy what is to be kept and is not yet, and let go of copies that newer ones have superseded.

    `reading` is opened with the key that sees locks. All of this is catching up: what an earlier call could
    not do is done now. Raise UnreachableError if the key may not copy.
    """
    backup = settings.require_backup()
    # Each place by itself: what somebody puts in the place of the one is no reason to give up the other.
    daily, copies = (backups.at(reading, settings, database, place) for place in ("", KEPT))
    there = {one.run: one for one in (*daily, *copies) if one.sound}
    if not there:
        return
    runs = wanted(list(there.values()), last=backup.keep_last, months=backup.keep_months)
    for run in sorted(runs - {one.run for one in copies if one.sound}):
        _copy(writing, database, run)
    newest = max(_month(one.taken_at) for one in there.values())
    spared = {one.run for one in copies if _is_spared(one, newest - backup.keep_months)}
    now = _now()
    for run in sorted({name.split("/")[2] for name in _names(reading, database)} - runs - spared):
        _let_go(reading, writing, database, run, now)


def _is_spared(copy: Backup, since: int) -> bool:
    """Whether a copy stays for its months though it is not signed as it should be.

    It may be of before backups were, or by a key whose line is no longer in the file: who takes out the line
    of a stolen key, or forgets one, is not to lose by it what nobody can make again.
    """
    return copy.signature in (Signature.UNSIGNED, Signature.WRONG) and _month(copy.taken_at) > since


def _names(bucket: "Bucket", database: str) -> list[str]:
    return [stored.name for stored in bucket.list(f"{KEPT}{database}/")]


def _copy(bucket: "Bucket", database: str, run: str) -> None:
    # The manifest is what makes it a backup: last.
    for name in (
        manifest.globals_name(database, run),
        manifest.dump_name(database, run),
        manifest.manifest_name(database, run),
    ):
        source = bucket.find(name)
        if source is None:
            return  # it has just gone by its age
        bucket.copy(source, KEPT + name)


def _let_go(reading: "Bucket", writing: "Bucket", database: str, run: str, now: datetime) -> None:
    objects = list(reading.list(f"{KEPT}{manifest.prefix(database, run)}"))
    if any(one.retained_until and one.retained_until > now for one in objects):
        return
    # The manifest first: half of a backup is none.
    for one in sorted(objects, key=lambda one: one.name != KEPT + manifest.manifest_name(database, run)):
        writing.hide(one.name)
