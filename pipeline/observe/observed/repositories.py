"""The repository of pgBackRest that a server has beside our backups, where luigi.cfg names one."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from pipeline.backup.pgbackrest import repository
from pipeline.backup.pgbackrest.repository import Repository
from pipeline.settings import Settings

__all__ = ["Repository", "observe"]


def observe(
    settings: Settings, observing: Callable[[str], AbstractContextManager[None]]
) -> dict[str, Repository]:
    """Return what there is for each database that has one; each stanza is asked once, within `observing`."""
    stanzas = {name: one.pgbackrest for name, one in settings.databases.items() if one.pgbackrest}
    by_stanza: dict[str, Repository] = {}
    for stanza in sorted(set(stanzas.values())):
        with observing(f"pgBackRest {stanza}"):
            by_stanza[stanza] = repository.read(settings.pgbackrest, stanza)
    return {name: by_stanza[stanza] for name, stanza in sorted(stanzas.items()) if stanza in by_stanza}
