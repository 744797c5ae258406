"""Which backup is taken: the newest that is sound, or the one that is named; and its manifest, as it was."""

import hashlib
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.backup.store import backups, manifest
from pipeline.backup.store.backups import Backup
from pipeline.backup.store.manifest import Manifest
from pipeline.backup.store.signature import Signature
from pipeline.bucket import KEPT
from pipeline.errors import CheckError, UsageError
from pipeline.names import advice
from pipeline.settings import Settings

if TYPE_CHECKING:
    from pipeline.bucket import Bucket

logger = logging.getLogger(__name__)


def choose(
    bucket: "Bucket", settings: Settings, database: str, run: str | None = None, *, unsigned: bool = False
) -> Manifest:
    """Return the manifest of a run's backup, by default of the newest.

    Of one that is named and is not sound any more, its copy that is kept is taken, if that is, and that is
    logged. With `unsigned` one that is named is taken without a signature too, and that is logged. Raise
    UsageError if there is none; CheckError if the newest is not sound and none is named, if the one that is
    named is not signed as it should be, or if its manifest is not its own.
    """
    there = backups.find(bucket, settings, database).of(database)
    chosen = [backup for backup in there if run in (None, backup.run)]
    if not chosen:
        raise _none(bucket, settings, database, run, there)
    backup = chosen[-1]
    if run is None and not backup.sound:
        raise _unsound(bucket, backup, there)
    backup = _sound_copy(bucket, settings, backup) or backup
    _require_signed(bucket, backup, unsigned=unsigned)
    name = backup.place + manifest.manifest_name(database, backup.run)
    data = bucket.read_small(name)
    proven = Manifest.from_bytes(data, f"bucket {bucket.name}: {name}")
    _require_its_own(f"bucket {bucket.name}: {name}", proven, backup, data)
    return proven.below(backup.place)


def _none(
    bucket: "Bucket", settings: Settings, database: str, run: str | None, there: Sequence[Backup]
) -> UsageError:
    what = f"run {run}" if run else "any run"
    if there:
        known = f"known: {', '.join(backup.run for backup in there[-5:])}"
    else:
        known = advice(database, {backup.database for backup in backups.find(bucket, settings).backups})
    return UsageError(
        f"bucket {bucket.name}: there is no backup of {database} for {what}; {known} (see 'pipeline backups')"
    )


def _unsound(bucket: "Bucket", newest: Backup, there: Sequence[Backup]) -> CheckError:
    sound = [backup.run for backup in there if backup.sound]
    instead = f"the newest sound one is of {sound[-1]}: add --at {sound[-1]}" if sound else "none is sound"
    return CheckError(
        f"bucket {bucket.name}: the newest backup of {newest.database}, of run {newest.run}, {newest.flaw}; "
        f"{instead}"
    )


def _sound_copy(bucket: "Bucket", settings: Settings, backup: Backup) -> Backup | None:
    """Return the copy that is kept of a backup that is not sound any more; None if it is, or its copy is not.

    The list says of a run what is thought of its daily objects, whatever there is besides.
    """
    if backup.sound or not backup.kept:
        return None
    copies = backups.at(bucket, settings, backup.database, KEPT)
    copied = next((copy for copy in copies if copy.run == backup.run and copy.sound), None)
    if copied:
        logger.warning(
            "bucket %s: the backup of %s, of run %s, %s: using the copy of it below _kept/",
            bucket.name,
            backup.database,
            backup.run,
            backup.flaw,
        )
    return copied


def _require_signed(bucket: "Bucket", backup: Backup, *, unsigned: bool) -> None:
    what = f"bucket {bucket.name}: the backup of {backup.database}, of run {backup.run}"
    if backup.signature is Signature.WRONG:
        raise CheckError(
            f"{what}, {backup.flaw}",
            hint="use another backup, or, if its key is missing in the file of [backup] signers, put that "
            "line back",
        )
    if backup.signature is Signature.UNSIGNED and not unsigned:
        raise CheckError(
            f"{what}, is not signed: it was made before backups were signed, or not by us",
            hint="use one that is signed, or, if you know that this one is yours, add --unsigned",
        )
    if backup.signature is Signature.UNSIGNED:
        logger.warning("%s, is not signed: nothing shows that it is ours", what)


def _require_its_own(what: str, proven: Manifest, backup: Backup, data: bytes) -> None:
    """Refuse a manifest that was written for another place, or other bytes than those that were signed."""
    if backup.signature is Signature.SIGNED and hashlib.sha256(data).hexdigest() != backup.manifest_sha256:
        raise CheckError(
            f"{what} differs from what was signed", hint="use another backup, and find out who wrote this"
        )
    names = (
        manifest.dump_name(backup.database, backup.run),
        manifest.globals_name(backup.database, backup.run),
    )
    if (proven.database, proven.run, proven.dump.name, proven.globals.name) != (
        backup.database,
        backup.run,
        *names,
    ):
        raise CheckError(
            f"{what} holds {proven.database} {proven.run} and is in the wrong place",
            hint="use another backup, and find out who put it there",
        )
