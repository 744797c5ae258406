"""The proof: what is in the bucket is read back and compared, and only then the manifest is uploaded."""

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from pipeline import access, alerts, crypt, outage
from pipeline.access import Access
from pipeline.alerts import failures
from pipeline.backup.store import backups, manifest, neighbours, recording, retention, signature
from pipeline.backup.store.manifest import Manifest, Method, Times, Verification
from pipeline.backup.work import records
from pipeline.backup.work.records import Encrypted
from pipeline.backup.work.work_folder import Work
from pipeline.bucket import Bucket
from pipeline.chains import VERIFY_TASK
from pipeline.errors import PipelineError, StepError
from pipeline.progress import Show, moved, no_progress
from pipeline.settings import BackupSettings, Settings

logger = logging.getLogger(__name__)

STEP = VERIFY_TASK
GIBIBYTE = 1024**3
SHOWN = 10
HINT = (
    "write a [database.NAME] for each into luigi.cfg; if there is one that is meant to back it up, correct "
    "uri in its entry in Vault; or list its name in leave under [backup]"
)


def verify_backup(settings: Settings, database: str, run: str, show: Show = no_progress) -> None:
    """Read back what was uploaded, upload the manifest, and remove the work folder's copy.

    Raise CheckError if an object is not what was sent, UnreachableError if B2 does not answer or let us in,
    or Vault does not sign.
    """
    backup = settings.require_backup()
    folder = Work(backup, database, run)
    with folder.step(STEP, show):
        encrypted = records.encrypted(folder)
        if encrypted is None:
            if backups.is_verified(settings, database, run):
                return
            raise StepError(
                f"database {database}: no encrypted dump is in {folder.folder}",
            )
        with access.opened(settings) as databases:
            begun = time.monotonic()
            with backups.reading(databases) as reading:
                method = _read_back(reading, backup, folder, encrypted, folder.shown(STEP, show))
            proven = _manifest(folder, encrypted, method, time.monotonic() - begun)
            data = proven.to_bytes()
            labelled = signature.sign(databases, proven, data)
            with databases.bucket(backup.secret) as writing:
                _publish(writing, settings, proven, data, labelled)
                kept = _keep(databases, writing, proven)
            _warn_of_neighbours(databases, proven, encrypted.dumped.neighbours)
            recording.record_backup(databases, proven.database, _row(proven))
        for warning in proven.warnings:
            logger.warning("backup of %s: %s", database, warning)
        _warn(settings, backup, proven)
        _warn_of_kept(settings, proven, kept)
        what = "every byte" if method == Method.ALL else "samples"
        show(100, f"{what} of {encrypted.dump.encrypted.size_bytes:,} read back")
    folder.remove()


def _keep(databases: Access, writing: Bucket, proven: Manifest) -> str | None:
    """Keep what does not go by its age; return why that failed, if it did. The backup itself is verified."""
    try:
        with backups.reading(databases) as reading:
            retention.keep(reading, writing, databases.settings, proven.database)
    except PipelineError as error:
        logger.warning(
            "backup of %s: it is verified, but it could not be copied below _kept/: %s",
            proven.database,
            error,
        )
        return str(error)
    return None


def _warn_of_kept(settings: Settings, proven: Manifest, why: str | None) -> None:
    """Tell once that a database's backups all go by their age, and that it is over."""
    key = f"{failures.KEPT}{proven.database}"
    of = replace(failures.backup(proven.database, proven.run), key=key)
    if why:
        alerts.send(
            settings, of.alert(f"it could not be copied below _kept/: {why}", kind=alerts.Kind.WARNING)
        )
    else:
        alerts.send_recovery(
            settings, key, f"database {proven.database}: its backups are copied below _kept/ again"
        )


def _warn_of_neighbours(databases: Access, proven: Manifest, names: tuple[str, ...]) -> None:
    """Tell once of databases on the same server that nothing backs up, and that there are none any more."""
    settings, name = databases.settings, proven.database
    try:
        with backups.reading(databases) as reading:
            left_out = neighbours.left_out(reading, settings, proven, names)
    except PipelineError as error:
        logger.warning("backup of %s: not checked for other databases of its server: %s", name, error)
        return
    key = f"{neighbours.KEY}{name}"
    if not left_out:
        # Or one of those that were declared since tells: of several on one server one alone does.
        alerts.send_recovery(
            settings,
            key,
            f"database {name}: every database of its server is backed up, or reported by another backup",
        )
        return
    of = replace(failures.backup(name, proven.run), key=key, command="pipeline check")
    few = outage.few(left_out, SHOWN)
    alert = of.alert(f"databases of its server are not backed up: {few}", kind=alerts.Kind.WARNING)
    alerts.send(settings, alert.model_copy(update={"hint": HINT}))


def _warn(settings: Settings, backup: BackupSettings, proven: Manifest) -> None:
    """Tell of keys that expire soon; once for each, until another is in its place."""
    expiring = crypt.expiring(proven.recipients, datetime.now(UTC))
    of = failures.backup(proven.database, proven.run)
    alerts.reconcile(
        settings,
        failures.KEYS,
        [
            replace(of, key=f"{failures.KEYS}{file.name}").alert(
                expiring[one.fingerprint], kind=alerts.Kind.WARNING
            )
            for file, one in zip(backup.recipients, proven.recipients, strict=False)
            if one.fingerprint in expiring
        ],
    )


def _read_back(
    bucket: Bucket, backup: BackupSettings, folder: Work, encrypted: Encrypted, show: Show
) -> Method:
    """Compare both objects with what was sent, and return how."""
    method, begun = Method.ALL, time.monotonic()

    def progress(done: int, whole: int) -> None:
        message = moved(done, whole, time.monotonic() - begun)
        show(min(done * 100 // max(whole, 1), 99), f"{message}, read back")

    for path, file in ((folder.dump, encrypted.dump), (folder.globals, encrypted.globals)):
        limit = backup.sample_above_gib
        if limit is not None and file.encrypted.size_bytes > limit * GIBIBYTE:
            bucket.verify_sample(file.name, folder.encrypted(path), progress=progress)
            method = Method.SAMPLE
        else:
            bucket.verify(
                file.name,
                sha256=file.encrypted.sha256,
                size_bytes=file.encrypted.size_bytes,
                progress=progress,
            )
    return method


def _manifest(folder: Work, encrypted: Encrypted, method: Method, verify_seconds: float) -> Manifest:
    dumped = encrypted.dumped
    uploaded = records.uploaded(folder)
    return Manifest.model_validate(
        {
            "database": folder.database,
            "run": folder.run,
            "taken_at": dumped.taken_at,
            "client_version": dumped.client_version,
            "compression": dumped.compression,
            "contents": dumped.contents,
            "dump": encrypted.dump,
            "globals": encrypted.globals,
            "recipients": encrypted.recipients,
            "times": Times(
                dump_started_at=dumped.started_at,
                dump_seconds=dumped.dump_seconds,
                contents_seconds=dumped.contents_seconds,
                encrypt_seconds=encrypted.encrypt_seconds,
                upload_seconds=uploaded.upload_seconds if uploaded else 0.0,
                verify_seconds=verify_seconds,
            ),
            "verification": Verification.model_validate({"method": method, "verified_at": datetime.now(UTC)}),
            "warnings": dumped.warnings,
        }
    )


def _publish(
    bucket: Bucket, settings: Settings, proven: Manifest, data: bytes, labelled: Mapping[str, str]
) -> None:
    if backups.is_ours(bucket, settings, proven.database, proven.run):
        return  # by an attempt that was killed before it could clean up
    name = manifest.manifest_name(proven.database, proven.run)
    bucket.write_small(name, data, content_type=manifest.CONTENT_TYPE, info=labelled)


def _row(proven: Manifest) -> dict[str, object]:
    return {
        "database": proven.database,
        "run": proven.run,
        "taken_at": proven.taken_at,
        "verified_at": proven.verification.verified_at,
        "method": proven.verification.method,
        "size_bytes": proven.dump.encrypted.size_bytes + proven.globals.encrypted.size_bytes,
        "database_bytes": proven.contents.database.size_bytes,
        "tables": len(proven.contents.tables),
        "rows": sum(table.rows for table in proven.contents.tables),
        "seconds": (proven.verification.verified_at - proven.times.dump_started_at).total_seconds(),
        "warnings": json.dumps(proven.warnings),
    }
