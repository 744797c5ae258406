"""Which backups there are: from the bucket alone, so that it can be told when everything else is gone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING

from pipeline import access
from pipeline.access import Access
from pipeline.backup.store import manifest, signature
from pipeline.backup.store.signature import Signature
from pipeline.bucket import KEPT, RetryPolicy, Stored, Version
from pipeline.crypt import Signers
from pipeline.errors import ANOTHER_RUN, StepError
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pipeline.bucket import Bucket

PARTS = 3


@dataclass(frozen=True)
class Backup:
    """A backup: it has a manifest. `verified` is False where an object is not the one that was verified.

    `signature` is what its signature is worth, None where nothing is signed; `manifest_sha256` is what it
    says of its manifest.
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
    signature: Signature | None = None
    manifest_sha256: str | None = None

    @property
    def sound(self) -> bool:
        """Whether it is what was verified, and ours: what is not is never the newest to anybody."""
        return self.verified and self.signature in (None, Signature.SIGNED)

    @property
    def flaw(self) -> str:
        """What keeps it from being sound; nothing if it is."""
        if not self.verified:
            return "differs from the verified backup: an object of it is missing, or was replaced"
        if self.signature is Signature.WRONG:
            return "has an invalid signature: it is not ours, or was changed or moved since"
        return "is not signed" if self.signature is Signature.UNSIGNED else ""


@dataclass(frozen=True)
class Hidden:
    """A backup whose manifest somebody hid who is not to, and when: without it, there is no backup."""

    database: str
    run: str
    hidden_at: datetime


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
        before = [
            one
            for one in self.of(backup.database)
            if one.taken_at < backup.taken_at and (one.sound or not backup.sound)
        ]
        return backup.size_bytes / before[-1].size_bytes - 1 if before else None


def is_verified(settings: Settings, database: str, run: str) -> bool:
    """Whether the bucket has our manifest of this run, which is what makes it a backup."""
    with reading(access.brief(settings)) as bucket:
        return is_ours(bucket, settings, database, run)


def is_ours(bucket: "Bucket", settings: Settings, database: str, run: str) -> bool:
    """Whether a bucket that is open has our manifest of this run."""
    proof = bucket.find(manifest.manifest_name(database, run))
    if proof is None:
        return False
    return signature.judge(signature.signers(settings), database, run, proof) in (None, Signature.SIGNED)


def require_free(settings: Settings, database: str, run: str) -> None:
    """Raise StepError if a manifest that is not ours has the name of this run: it could never be ours."""
    known = signature.signers(settings)
    if known is None:
        return
    with reading(access.brief(settings)) as bucket:
        name = manifest.manifest_name(database, run)
        proof = bucket.find(name)
        if proof is None:
            return
    is_unsigned = signature.judge(known, database, run, proof) is Signature.UNSIGNED
    what = (
        "is not signed: it was made before backups were signed, or somebody else wrote it"
        if is_unsigned
        else "is not signed by us"
    )
    raise StepError(
        f"bucket {bucket.name}: {name} exists already, and {what}",
        hint="leave it there" if is_unsigned else "find out who wrote it",
        retryable=False,
        again=ANOTHER_RUN,
    )


def reading(databases: Access, *, retries: RetryPolicy | None = None) -> "Bucket":
    """Open the bucket with the key that reads back and lists."""
    backup = databases.settings.require_backup()
    return databases.bucket(backup.verify_secret or backup.secret, retries=retries)


def find(bucket: "Bucket", settings: Settings, database: str | None = None) -> Listing:
    """Return what the bucket has of one database or, if that is None, of all."""
    known = signature.signers(settings)
    if database is None:
        return listed(bucket.list(), known)
    return listed([*bucket.list(f"{database}/"), *bucket.list(f"{KEPT}{database}/")], known)


def at(bucket: "Bucket", settings: Settings, database: str, place: str) -> tuple[Backup, ...]:
    """Return the backups of one database in one place alone, whatever is in the other: KEPT, or nothing."""
    return listed(bucket.list(f"{place}{database}/"), signature.signers(settings)).of(database)


def standing(versions: Iterable[Version]) -> list[Stored]:
    """Return the objects that are there, of all versions in their order: what a list without them gives."""
    newest = [next(of_name) for _, of_name in groupby(versions, lambda one: one.name)]
    return [one.stored for one in newest if one.stored]


def hidden(versions: Iterable[Version], keep: timedelta) -> tuple[Hidden, ...]:
    """Return the backups that were hidden before the bucket's rules do so, when they are `keep` old.

    Copies that are kept beyond that are another matter (`retention.hidden_copies`).
    """
    early = []
    for name, of_name in groupby(versions, lambda one: one.name):
        path = name.split("/")
        if len(path) != PARTS or name != manifest.manifest_name(path[0], path[1]):
            continue
        marker, *below = of_name
        written = next((one.made_at for one in below if one.stored), None)
        if marker.stored is None and written is not None and marker.made_at - written < keep:
            early.append(Hidden(path[0], path[1], marker.made_at))
    return tuple(early)


def listed(objects: Iterable[Stored], known: Signers | None) -> Listing:
    """Return which backups these objects are; of one that is kept too, the daily one while it is there."""
    by_run: dict[tuple[str, str], dict[str, Stored]] = {}
    kept: dict[tuple[str, str], dict[str, Stored]] = {}
    for stored in objects:
        name = stored.name.removeprefix(KEPT)
        path = name.split("/")
        if len(path) == PARTS:
            into = by_run if name == stored.name else kept
            into.setdefault((path[0], path[1]), {})[name] = stored
    by_key = {key: assembled(*key, objects, known) for key, objects in by_run.items()}
    for key, copies in kept.items():
        copy, daily = assembled(*key, copies, known), by_key.get(key)
        if copy is None or not copy.verified:
            continue
        # One with another object in it is told as such; one of which age has taken a part is gone.
        there = daily if daily and set(by_run[key]) >= set(copies) else replace(copy, place=KEPT)
        by_key[key] = replace(there, kept=True)
    return Listing(
        tuple(sorted((one for one in by_key.values() if one), key=lambda one: (one.database, one.taken_at))),
        tuple(sorted(key for key, one in by_key.items() if one is None and _of_ours(*key, by_run[key]))),
    )


def _of_ours(database: str, run: str, objects: Iterable[str]) -> bool:
    return not {manifest.dump_name(database, run), manifest.globals_name(database, run)}.isdisjoint(objects)


def assembled(database: str, run: str, objects: Mapping[str, Stored], known: Signers | None) -> Backup | None:
    """Return the backup that these objects are, by their names without a place; None without a manifest."""
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
        signature=signature.judge(known, database, run, proof),
        manifest_sha256=proof.sha256,
    )


def _moments(proof: Stored) -> tuple[datetime, datetime] | None:
    """Return when the dump was taken and verified, in UTC; None if this object was not written by us."""
    try:
        moments = [datetime.fromisoformat(proof.info[key]) for key in ("taken-at", "verified-at")]
        if any(one.tzinfo is None for one in moments):
            return None
        return moments[0].astimezone(UTC), moments[1].astimezone(UTC)
    except (KeyError, ValueError, OverflowError):  # the last of these on the first and the last day there is
        return None


def _is(stored: Stored | None, proof: Stored, key: str) -> bool:
    """Whether an object is the one that the manifest's label names; without a label it is none."""
    return stored is not None and stored.sha256 is not None and stored.sha256 == proof.info.get(key)
