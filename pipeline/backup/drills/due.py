"""Which databases are to be drilled tonight: those that were not proven this month, and those whose
definitions or recipients changed: a backup that cannot be restored any more, or not with the private key that
Vault has, is found out the same night.
"""

from collections.abc import Sequence

from pipeline import access
from pipeline.backup.drills import report
from pipeline.backup.drills.report import Origin
from pipeline.backup.store import backups, choice
from pipeline.bucket import Bucket, Stored
from pipeline.errors import CheckError
from pipeline.settings import Settings


def due(settings: Settings, databases: Sequence[str], month: str) -> list[str]:
    """Return those of the databases that are to be drilled, in their order; `month` is such as 2026-11."""
    with (
        access.restoring(settings) as opened,
        opened.bucket(settings.require_restore().secret) as bucket,
    ):
        return [name for name in databases if _is_due(bucket, settings, name, month)]


def failed_since(
    settings: Settings, databases: Sequence[str], month: str, origin: Origin = Origin.BACKUP
) -> list[str]:
    """Return those whose drill for `month` held, but whose latest, such as one for a change, did not.

    With them those that were not proven for `month`, so that none waits for another's failure to be over.
    """
    with (
        access.restoring(settings) as opened,
        opened.bucket(settings.require_restore().secret) as bucket,
    ):
        by_database = {name: report.all_of(bucket, name, origin) for name in databases}
    proven = {
        name
        for name, reports in by_database.items()
        if any(one.info["month"] == month and _held(one) for one in reports)
    }
    failed = {name for name in proven if not _held(by_database[name][-1])}
    return [name for name in databases if name in failed or name not in proven] if failed else []


def _held(stored: Stored) -> bool:
    return stored.info["grade"] in report.HOLDING


def _is_due(bucket: Bucket, settings: Settings, database: str, month: str) -> bool:
    there = [one for one in backups.find(bucket, settings, database).of(database) if one.sound]
    reports = report.all_of(bucket, database)
    proven = any(one.info["month"].startswith(month) and _held(one) for one in reports)
    # Without a backup the drill fails, and says so.
    if not proven or not there or not _held(reports[-1]):
        return True
    try:
        newest = choice.choose(bucket, settings, database, there[-1].run)
    except CheckError:
        # The drill fails as well, and says so; those of the others are made all the same.
        return True
    proven_of, schema = reports[-1].info, newest.contents.schema_sha256
    # Older reports do not say to whom: nothing was proven of that.
    if newest.recipients_sha256 != proven_of.get("recipients"):
        return True
    return schema is not None and schema != proven_of.get("schema")
