"""Neighbours: the databases on the server of one that is backed up, of which nothing here makes a backup.

Somebody made a database, and nobody declared it: every backup ends well, and that one has none.
"""

from contextlib import suppress
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from pipeline.backup.store import choice
from pipeline.backup.store.manifest import Manifest
from pipeline.errors import PipelineError
from pipeline.settings import Settings

# The alert's key begins so; then follows the database that tells.
KEY = "watch/neighbours/"

if TYPE_CHECKING:
    from pipeline.bucket import Bucket


def left_out(bucket: "Bucket", settings: Settings, proven: Manifest, names: tuple[str, ...]) -> list[str]:
    """Return which of these databases, the neighbours of a verified one, have no backup of ours.

    A section of luigi.cfg is called as people like: which database it is, its newest backup says, and until
    it has one its name. Of several on one server one alone tells: nothing is left out for the others.
    """
    patterns = settings.require_backup().leave
    left = [name for name in names if not any(fnmatchcase(name, pattern) for pattern in patterns)]
    unknown = [name for name in left if name not in settings.databases]
    if not unknown:
        return []
    beside = _beside(bucket, settings, proven)
    if any(section < proven.database for section in beside):
        return []
    return [name for name in unknown if name not in beside.values()]


def _beside(bucket: "Bucket", settings: Settings, proven: Manifest) -> dict[str, str]:
    """Return the other sections whose newest backup is of the same server, each with its database."""
    own, there = proven.contents.database.system_identifier, {}
    for section in settings.databases:
        # One that has no backup, or none that is sound, is told of as that.
        with suppress(PipelineError):
            if section != proven.database:
                there[section] = choice.choose(bucket, settings, section).contents.database
    return {section: one.name for section, one in there.items() if one.system_identifier == own}
