"""Neighbours: the databases on the server of one that is backed up, of which nothing here makes a backup.

Somebody made a database, and nobody declared it: every backup ends well, and that one has none.
"""

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from pipeline.backup.store import choice
from pipeline.backup.store.manifest import Database, Manifest
from pipeline.errors import CheckError, UsageError
from pipeline.settings import Settings

# The alert's key begins so; then follows the database that tells.
KEY = "watch/neighbours/"

if TYPE_CHECKING:
    from pipeline.bucket import Bucket


def left_out(bucket: "Bucket", settings: Settings, proven: Manifest, names: tuple[str, ...]) -> list[str]:
    """Return which of these databases, the neighbours of a verified one, have no backup of ours.

    A section of luigi.cfg is called as people like: which database of which server it is, its newest backup
    says, and until it has one its name. Of several on one server the first alone tells: nothing is left out
    for the others. Raise what the bucket raises: without an answer nobody knows.
    """
    patterns = settings.require_backup().leave
    left = [name for name in names if not any(fnmatchcase(name, pattern) for pattern in patterns)]
    if not left:
        return []
    known: set[str] = set()
    # In order: most find at the first of them that they need not ask for the others.
    for section in sorted(settings.databases):
        if section == proven.database:
            continue
        other = _newest(bucket, settings, section)
        if other is None:
            known.add(section)
        elif other.system_identifier == proven.contents.database.system_identifier:
            if section < proven.database:
                return []
            known.add(other.name)
        elif other.system_identifier is None:
            # Of an older version: its server may be this one.
            known.add(other.name)
    return [name for name in left if name not in known]


def _newest(bucket: "Bucket", settings: Settings, section: str) -> Database | None:
    """Return the database of a section's newest backup; None if it has none, or none that is sound."""
    try:
        return choice.choose(bucket, settings, section).contents.database
    except (UsageError, CheckError):
        # That is told of as such.
        return None
