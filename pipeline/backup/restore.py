"""A backup restored into an empty database, and compared with its manifest. It needs the bucket, Vault and a
PostgreSQL server, and nothing else.
"""

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pipeline import access, scratch
from pipeline.access import Access
from pipeline.backup import assertions, backups, contents, fetch, roles, target, tools
from pipeline.backup.assertions import Assertion
from pipeline.backup.counting import Counting
from pipeline.backup.fetch import Fetched, Progress, Show
from pipeline.backup.manifest import Manifest
from pipeline.backup.roles import Roles
from pipeline.backup.target import Target
from pipeline.backup.tools import Tool
from pipeline.backup.unpacking import Unpacking
from pipeline.backup.work import RESTORE, RESTORES
from pipeline.bucket import Bucket
from pipeline.errors import StepError, UnreachableError, UsageError
from pipeline.names import advice
from pipeline.postgres import Connection
from pipeline.settings import Settings

LOOK_SECONDS = 0.2
JOBS = max(1, min(8, os.cpu_count() or 2))
VAULT = "vault:"
# What a database that somebody else made may have otherwise.
THEIR_OWN = frozenset({"encoding and locale", "database owner"})


@dataclass(frozen=True)
class Order:
    """What is to be restored: the newest backup where `run` is None, all of it where `table` is.

    `clean` drops what the backup has from the target first.
    """

    database: str
    run: str | None = None
    table: str | None = None
    clean: bool = False
    jobs: int = JOBS


@dataclass(frozen=True)
class Restored:
    """What was done, the time of each phase in seconds, and every assertion of the manifest."""

    manifest: Manifest
    target: Target
    seconds: dict[str, float]
    assertions: tuple[Assertion, ...]
    roles: Roles = field(default_factory=Roles)
    remarks: tuple[str, ...] = ()

    @property
    def held(self) -> bool:
        """Whether no assertion failed."""
        return all(one.held is not False for one in self.assertions)


def restore_into(settings: Settings, order: Order, uri: str, show: Show = fetch.silent) -> Restored:
    """Restore into the database at `uri`, or at that of the entry PATH of Vault where it is `vault:PATH`.

    Raise UsageError if it is not empty, StepError if it cannot take the backup or pg_restore fails,
    CheckError if the backup is damaged. Assertions that do not hold are for the caller to raise.
    """
    with access.restoring(settings) as databases, _bucket(databases) as bucket:
        if uri.startswith(VAULT):
            uri = _kept_uri(databases, uri.removeprefix(VAULT))
        place = target.at(uri)
        proven = backups.choose(bucket, order.database, order.run)
        with place.opened() as connection:
            _require_fit(connection, order, proven, place)
        with work_folder(settings) as folder:
            job = Restoration(databases, bucket, proven, order, folder, show)
            fetched = job.fetch()
            with place.opened() as connection:
                made = job.make_roles(connection, fetched, place)
            return job.restore(fetched, place, made, new=False)


def restore_into_new(settings: Settings, order: Order, name: str, show: Show = fetch.silent) -> Restored:
    """Restore into a new database of the [drill] server; as `restore_into`. What fails is removed again."""
    with access.restoring(settings) as databases, _bucket(databases) as bucket:
        server = target.at(databases.drill_uri())
        proven = backups.choose(bucket, order.database, order.run)
        with work_folder(settings) as folder:
            job = Restoration(databases, bucket, proven, order, folder, show)
            job.require_fit(server, name)
            return job.into_new(server, name, job.fetch())


def _bucket(databases: Access) -> Bucket:
    return databases.bucket(databases.settings.require_restore().secret)


def _kept_uri(databases: Access, path: str) -> str:
    uri = databases.vault.read(path).get("uri", "")
    if not uri.startswith(("postgresql://", "postgres://")):
        raise UnreachableError(
            f"Vault: {path} has no uri; write uri=postgresql://USER:PASSWORD@HOST:PORT/NAME"
        )
    return uri


def work_folder(settings: Settings) -> contextlib.AbstractContextManager[Path]:
    """Return a folder in which a backup may lie in plain: private, and gone afterwards."""
    parent = settings.require_backup().work_dir / RESTORES
    try:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{parent}: cannot be made: {error.strerror}; mend [backup] work_dir") from error
    return scratch.folder(parent, RESTORE)


def _require_fit(connection: Connection, order: Order, proven: Manifest, place: Target) -> None:
    """Refuse, before anything is downloaded, what cannot end well."""
    _require_able(connection, order, proven, place)
    encoding = contents.database(connection).encoding
    if encoding != proven.contents.database.encoding:
        raise UsageError(
            f"{place.name}: its encoding is {encoding}, and that of the backup "
            f"{proven.contents.database.encoding}; make a database with that one"
        )
    if order.clean:
        return
    if order.table:
        target.require_no_table(connection, order.table, place.name)
    else:
        target.require_empty(connection, place.name)


def _require_able(connection: Connection, order: Order, proven: Manifest, place: Target) -> None:
    target.require_new_enough(connection, proven, place.name)
    target.require_extensions(connection, proven, place.name)
    if order.table:
        _require_known(order.table, proven)


def _require_known(table: str, proven: Manifest) -> None:
    """Raise StepError if the backup cannot have the table."""
    # A manifest counts what holds rows: of partitioned tables the parts alone, and no foreign ones.
    if any(one.kind in ("partitioned table", "foreign table") for one in proven.contents.objects):
        return
    known = [one.full_name for one in proven.contents.tables]
    if table not in known:
        raise UsageError(f"the backup has no table {table}; {advice(table, known)}")


class Restoration:
    """One backup on its way into a server."""

    def __init__(
        self, databases: Access, bucket: Bucket, proven: Manifest, order: Order, folder: Path, show: Show
    ) -> None:
        self._databases, self._bucket, self._proven, self._order = databases, bucket, proven, order
        self._folder, self.progress = folder, Progress(show)
        self._tool = _pg_restore(databases.settings, proven)

    def require_fit(self, server: Target, name: str) -> None:
        """Refuse, before anything is downloaded, a new database that cannot be made or filled."""
        place = server.on(name)
        with server.opened() as connection:
            _require_able(connection, self._order, self._proven, place)
            target.require_free(connection, place)

    def fetch(self) -> Fetched:
        """Bring the backup here."""
        private = fetch.key(self._databases)
        return fetch.fetch(self._bucket, self._proven, private, self._folder, self.progress)

    def make_roles(
        self, connection: Connection, fetched: Fetched, place: Target, mark: str | None = None
    ) -> Roles:
        """Make the roles that are missing."""
        wanted = self._proven.contents
        with self.progress.phase("roles"):
            made = roles.make(
                connection, fetched.globals_sql, needed=wanted.roles, where=place.name, mark=mark
            )
            owners = {one.owner for one in wanted.objects} | {wanted.database.owner}
            roles.require_usable(connection, owners, place.name)
        return made

    def into_new(self, server: Target, name: str, fetched: Fetched, *, mark: str | None = None) -> Restored:
        """Make a database on the server and restore into it; if anything fails, it and its roles are removed.

        `require_fit` comes before. With a `mark`, which its roles get, it is a passing one: whoever finds it
        without us may remove it.
        """
        place = server.on(name)
        with server.opened() as connection:
            made = self.make_roles(connection, fetched, place, mark)
            try:
                target.make(connection, place, self._proven.contents.database)
            except BaseException:
                roles.remove(connection, made.made)
                raise
            try:
                with place.opened() as inside:
                    target.require_empty(inside, f"template1, and so {place.name},")
                restored = self.restore(fetched, place, made, new=True)
                if mark is None:
                    target.finish(connection, name)
            except BaseException:
                target.drop(connection, place)
                roles.remove(connection, made.made)
                raise
        return restored

    def restore(self, fetched: Fetched, place: Target, made: Roles, *, new: bool) -> Restored:
        """Restore into a database that is there, and compare."""
        with self.progress.phase("restore") as tell:
            try:
                remarks = self._unpacking(fetched.dump).run(place, tell)
            except StepError as error:
                raise error if new else self._half_done(error) from None
        with self.progress.phase("check") as tell:
            found = self._compare(place, tell)
        if not new:
            found = [_lenient(one) if one.name in THEIR_OWN else one for one in found]
        return Restored(
            manifest=self._proven,
            target=place,
            seconds=dict(self.progress.seconds),
            assertions=tuple(found),
            roles=made,
            remarks=(*made.remarks, *remarks),
        )

    def _unpacking(self, dump: Path) -> Unpacking:
        order, there = self._order, self._proven.contents.database
        return Unpacking(
            self._tool, dump, order.table, order.clean, order.jobs, there.size_bytes, there.encoding
        )

    def _half_done(self, error: StepError) -> StepError:
        """Return the error with what is to be done about a database that we did not make."""
        advice = "a part of the backup is in it now: drop it and make it anew, or come again with --clean"
        if "permission denied for schema" in str(error):
            owner = self._proven.contents.database.owner
            advice = f"its owner should be {owner}, as it was: ALTER DATABASE ... OWNER TO; {advice}"
        return StepError(f"{error}; {advice}")

    def _compare(self, place: Target, tell: Callable[[float, str], None]) -> list[Assertion]:
        session = {**self._proven.contents.session, "row_security": "off"}
        return assertions.compare(
            partial(place.opened, session=session),
            self._proven.contents,
            partial(_wait, tell),
            only=self._order.table,
            shared=self._order.clean or self._order.table is not None,
        )


def _wait(tell: Callable[[float, str], None], counting: Counting) -> None:
    while not counting.ended:
        tell(counting.share, counting.told)
        time.sleep(LOOK_SECONDS)


def _lenient(assertion: Assertion) -> Assertion:
    return assertion.model_copy(update={"held": assertion.held or None})


def _pg_restore(settings: Settings, proven: Manifest) -> Tool:
    """Return a pg_restore that can read what pg_dump wrote. Raise StepError if there is none."""
    found = tools.newest("pg_restore", settings.require_backup().postgres_bin)
    needed = tools.major(proven.client_version)
    if found.major < needed:
        raise StepError(
            f"pg_restore {found.version} ({found.path}) is older than the pg_dump {proven.client_version} "
            f"that made this backup; install the client of {needed}, or set [backup] postgres_bin"
        )
    return found
