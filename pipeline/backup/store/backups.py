"""Which backups there are: from the bucket alone, so that it can be told when everything else is gone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from pipeline import access
from pipeline.access import Access
from pipeline.backup.store import manifest
from pipeline.backup.store.manifest import Manifest
from pipeline.bucket import KEPT, RetryPolicy, Stored
from pipeline.errors import CheckError, UsageError
from pipeline.names import advice
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pipeline.bucket import Bucket

PARTS = 3


@dataclass(frozen=True)
class Backup:
    """A backup: it has a manifest. `verified` is False where an object is not the one that was verified.

    `locked_until` is when its first object can be deleted: None if now, or if the key may not see it.
    `kept` says whether there is a copy that does not go by its age; `place` is what the names of its objects
    begin with: nothing, or where that copy is if it is all that there is.
    """

    database: str
    run: str
    taken_at: datetime
    verified_at: datetime
    size_bytes: int
    verified: bool
    locked_until: datetime | None
    kept: bool = False
    place: str = ""


@dataclass(frozen=True)
class Listing:
    """The backups, by database and then by moment, and the runs whose uploads have no manifest."""

    backups: tuple[Backup, ...]
    incomplete: tuple[tuple[str, str], ...]

    def of(self, database: str) -> tuple[Backup, ...]:
        """Return the backups of one database, the oldest first."""
        return tuple(backup for backup in self.backups if backup.database == database)

    def change(self, backup: Backup) -> float | None:
        """Return by what share a backup is larger than the one before it, None for the first."""
        before = [one for one in self.of(backup.database) if one.taken_at < backup.taken_at]
        return backup.size_bytes / before[-1].size_bytes - 1 if before else None


def is_verified(settings: Settings, database: str, run: str) -> bool:
    """Whether the bucket has the manifest of this run, which is what makes it a backup."""
    with reading(access.brief(settings)) as bucket:
        return bucket.find(manifest.manifest_name(database, run)) is not None


def reading(databases: Access, *, retries: RetryPolicy | None = None) -> "Bucket":
    """Open the bucket with the key that reads back and lists."""
    backup = databases.settings.require_backup()
    return databases.bucket(backup.verify_secret or backup.secret, retries=retries)


def find(bucket: "Bucket", database: str | None = None) -> Listing:
    """Return what the bucket has of one database or, if that is None, of all."""
    if database is None:
        return listed(bucket.list())
    return listed([*bucket.list(f"{database}/"), *bucket.list(f"{KEPT}{database}/")])


def listed(objects: Iterable[Stored]) -> Listing:
    """Return which backups these objects are; of one that is kept too, the daily one while it is there."""
    by_run: dict[tuple[str, str], dict[str, Stored]] = {}
    kept: dict[tuple[str, str], dict[str, Stored]] = {}
    for stored in objects:
        name = stored.name.removeprefix(KEPT)
        path = name.split("/")
        if len(path) == PARTS:
            into = by_run if name == stored.name else kept
            into.setdefault((path[0], path[1]), {})[name] = stored
    found = {key: _backup(*key, objects) for key, objects in by_run.items()}
    for key, copies in kept.items():
        copy, daily = _backup(*key, copies), found.get(key)
        if copy is None or not copy.verified:
            continue
        # One with another object in it is told as such; one of which age has taken a part is gone.
        there = daily if daily and set(by_run[key]) >= set(copies) else replace(copy, place=KEPT)
        found[key] = replace(there, kept=True)
    return Listing(
        tuple(sorted((one for one in found.values() if one), key=lambda one: (one.database, one.taken_at))),
        tuple(sorted(key for key, one in found.items() if one is None and _of_ours(*key, by_run[key]))),
    )


def _of_ours(database: str, run: str, objects: Iterable[str]) -> bool:
    return not {manifest.dump_name(database, run), manifest.globals_name(database, run)}.isdisjoint(objects)


def _backup(database: str, run: str, objects: Mapping[str, Stored]) -> Backup | None:
    proof = objects.get(manifest.manifest_name(database, run))
    moments = _moments(proof) if proof else None
    if proof is None or moments is None:
        return None
    dump = objects.get(manifest.dump_name(database, run))
    roles = objects.get(manifest.globals_name(database, run))
    whole = [stored for stored in (proof, dump, roles) if stored]
    locks = [stored.retained_until for stored in whole]
    return Backup(
        database=database,
        run=run,
        taken_at=moments[0],
        verified_at=moments[1],
        size_bytes=sum(stored.size_bytes for stored in whole),
        verified=_is(dump, proof, "dump-sha256") and _is(roles, proof, "globals-sha256"),
        locked_until=None if None in locks else min(lock for lock in locks if lock),
    )


def _moments(proof: Stored) -> tuple[datetime, datetime] | None:
    """Return when the dump was taken and verified; None if this object was not written by us."""
    try:
        found = [datetime.fromisoformat(proof.info[key]) for key in ("taken-at", "verified-at")]
    except (KeyError, ValueError):
        return None
    return None if any(one.tzinfo is None for one in found) else (found[0], found[1])


def _is(stored: Stored | None, proof: Stored, key: str) -> bool:
    return stored is not None and stored.sha256 == proof.info.get(key)


def choose(bucket: "Bucket", database: str, run: str | None = None) -> Manifest:
    """Return the manifest of a run's backup, by default of the newest.

    Raise UsageError if there is none, CheckError if the newest is not what was verified and none is named.
    """
    there = find(bucket, database).of(database)
    chosen = [backup for backup in there if run in (None, backup.run)]
    if not chosen:
        what = f"run {run}" if run else "any run"
        if there:
            known = f"there are {', '.join(backup.run for backup in there[-5:])}"
        else:
            known = advice(database, {backup.database for backup in find(bucket).backups})
        raise UsageError(
            f"bucket {bucket.name}: there is no backup of {database} of {what}; {known} "
            "(see 'pipeline backups')"
        )
    if run is None and not chosen[-1].verified:
        sound = [backup.run for backup in there if backup.verified]
        instead = f"the newest that is, is that of {sound[-1]}: add --at {sound[-1]}" if sound else "none is"
        raise CheckError(
            f"bucket {bucket.name}: the newest backup of {database}, of run {chosen[-1].run}, is not what "
            f"was verified: an object of it is missing, or another; {instead}"
        )
    name = chosen[-1].place + manifest.manifest_name(database, chosen[-1].run)
    proven = Manifest.from_bytes(bucket.read_small(name), f"bucket {bucket.name}: {name}")
    return proven.below(chosen[-1].place)
