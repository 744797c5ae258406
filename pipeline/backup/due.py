"""Which databases are to be drilled tonight: those that were not proven this month, and those whose
definitions changed: a backup that cannot be restored any more is found out the same night.
"""

from collections.abc import Sequence

from pipeline import access
from pipeline.backup import backups, report
from pipeline.bucket import Bucket
from pipeline.settings import Settings


def due(settings: Settings, databases: Sequence[str], month: str) -> list[str]:
    """Return those of the databases that are to be drilled, in their order; `month` is such as 2026-11."""
    with (
        access.restoring(settings) as opened,
        opened.bucket(settings.require_restore().secret) as bucket,
    ):
        return [name for name in databases if _is_due(bucket, name, month)]


def _is_due(bucket: Bucket, database: str, month: str) -> bool:
    there = [one for one in backups.find(bucket, database).of(database) if one.verified]
    reports = report.all_of(bucket, database)
    proven = any(
        one.info["month"].startswith(month) and one.info["grade"] in report.HOLDING for one in reports
    )
    # Without a backup the drill fails, and says so.
    if not proven or not there:
        return True
    schema = backups.choose(bucket, database, there[-1].run).contents.schema_sha256
    return schema is not None and schema != reports[-1].info.get("schema")
