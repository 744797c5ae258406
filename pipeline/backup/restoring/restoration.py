"""One backup on its way into a server: fetched, unpacked, compared with its manifest."""

import contextlib
import os
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from pipeline import postgres
from pipeline.access import Access
from pipeline.backup import tools
from pipeline.backup.database import assertions
from pipeline.backup.database.assertions import Assertion
from pipeline.backup.database.counting import Counting
from pipeline.backup.restoring import properties, rights, roles, target
from pipeline.backup.restoring.roles import Making, Roles
from pipeline.backup.restoring.target import Target
from pipeline.backup.restoring.unpacking import Unpacking
from pipeline.backup.store import encrypted_properties, fetch
from pipeline.backup.store.fetch import Fetched, Progress, Show
from pipeline.backup.store.manifest import Manifest, Missing
from pipeline.backup.tools import Tool
from pipeline.bucket import Bucket
from pipeline.errors import PipelineError, StepError, UsageError
from pipeline.names import advice
from pipeline.postgres import Connection
from pipeline.settings import Settings

POLL_SECONDS = 0.2
JOBS = max(1, min(8, os.cpu_count() or 2))
# What a database that somebody else made may have otherwise.
THEIR_OWN = frozenset({"encoding and locale", "database owner"})


@dataclass(frozen=True)
class Order:
    """What is to be restored: the newest backup where `run` is None, all of it where `table` is.

    `unsigned` takes one that is named without a signature too. `clean` drops what the backup has from the
    target first. `all_roles` makes every role of the server that was backed up, and not only those that own
    or may use something here.
    """

    database: str
    run: str | None = None
    table: str | None = None
    clean: bool = False
    all_roles: bool = False
    jobs: int = JOBS
    unsigned: bool = False


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


def require_able(connection: Connection, order: Order, proven: Manifest, place: Target) -> None:
    """Refuse, before anything is downloaded, what the server cannot hold."""
    target.require_writable(connection, place.name)
    target.require_new_enough(connection, proven, place.name)
    target.require_extensions(connection, proven, place.name)
    if order.table:
        _require_known(order.table, proven)


def _require_known(table: str, proven: Manifest) -> None:
    """Raise UsageError if the backup cannot have the table."""
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
            require_able(connection, self._order, self._proven, place)
            target.require_free(connection, place)

    def fetch(self) -> Fetched:
        """Bring the backup here."""
        private = fetch.key(self._databases)
        return fetch.fetch(self._bucket, self._proven, private, self._folder, self.progress)

    def make_roles(
        self, connection: Connection, fetched: Fetched, place: Target, mark: str | None = None
    ) -> Roles:
        """Make the roles that are missing."""
        needed = self._proven.contents.roles
        with self.progress.phase("roles"):
            wanted = Making(needed, self._order.all_roles, mark, self._lesser(connection))
            return roles.make(connection, fetched.globals_sql, wanted, place.name)

    def _lesser(self, connection: Connection) -> str | None:
        """Return who restores there otherwise, where we are a superuser: that login is let in again."""
        if self._databases.settings.drill is None or not roles.is_superuser(connection):
            return None
        # Out of reach it is no worse off than before.
        with contextlib.suppress(PipelineError):
            return rights.lesser(connection, target.at(self._databases.drill_uri()))
        return None

    def into_new(self, server: Target, name: str, fetched: Fetched, *, mark: str | None = None) -> Restored:
        """Make a database on the server and restore into it; if anything fails, it and its roles are removed.

        `require_fit` comes before. With a `mark`, which its roles get, it is a passing one: whoever finds it
        without us may remove it.
        """
        place = server.on(name)
        own = encrypted_properties.read(fetched.globals_sql)
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
                applied = properties.apply(place, self._proven.contents, own, passing=mark is not None)
                restored = replace(
                    restored,
                    assertions=(*restored.assertions, applied.assertion),
                    remarks=(*restored.remarks, *applied.remarks),
                )
                if mark is None:
                    target.finish(connection, name, own.comment)
            except BaseException:
                target.drop(connection, place)
                roles.remove(connection, made.made)
                raise
        return restored

    def restore(self, fetched: Fetched, place: Target, made: Roles, *, new: bool) -> Restored:
        """Restore into a database that is there, and compare."""
        with self.progress.phase("restore") as report:
            try:
                unpacked = self._unpacking(fetched.dump).run(place, report)
            except StepError as error:
                raise error if new else self._half_done(error, place) from None
        with self.progress.phase("check") as report:
            assertions = self._compare(place, report)
        assertions += _never_dumped(self._proven.contents.missing)
        if unpacked.left_out:
            left_out = "; ".join(unpacked.left_out)
            assertions.insert(0, Assertion(name="left out", held=False, detail=left_out))
        if not new:
            assertions = [_lenient(one) if one.name in THEIR_OWN else one for one in assertions]
        return Restored(
            manifest=self._proven,
            target=place,
            seconds=dict(self.progress.seconds),
            assertions=tuple(assertions),
            roles=made,
            remarks=(*made.remarks, *unpacked.remarks),
        )

    def _unpacking(self, dump: Path) -> Unpacking:
        order, wanted = self._order, self._proven.contents
        return Unpacking(self._tool, dump, order.table, order.clean, order.jobs, wanted)

    def _half_done(self, error: StepError, place: Target) -> StepError:
        """Return the error with what is to be done about a database that we did not make."""
        again = "repeat the command with --clean"
        hints = [
            # The rest of what is in there may be in use.
            f"a part of the table may be in it now: drop the table there, or {again}"
            if self._order.table
            else f"a part of the backup is in it now: drop and create it again, or {again}"
        ]
        owner = self._proven.contents.database.owner
        if _is_shut_out(place, owner):
            hints.insert(0, f"set its owner back to {owner}: ALTER DATABASE ... OWNER TO")
        elif error.hint:
            hints.insert(0, error.hint)
        return StepError(error.fact, hint="; ".join(hints))

    def _compare(self, place: Target, report: Callable[[float, str], None]) -> list[Assertion]:
        session = {**self._proven.contents.session, "row_security": "off"}
        return assertions.compare(
            partial(place.opened, session=session),
            self._proven.contents,
            partial(_wait, report),
            only=self._order.table,
            shared=self._order.clean or self._order.table is not None,
        )


def _wait(report: Callable[[float, str], None], counting: Counting) -> None:
    while not counting.ended:
        report(counting.share, counting.progress)
        time.sleep(POLL_SECONDS)


def _is_shut_out(place: Target, owner: str) -> bool:
    """Whether the database is somebody else's, and its owner of before may make nothing in schema public."""
    query = """
        SELECT r.oid <> d.datdba AND NOT pg_catalog.has_schema_privilege(r.oid, n.oid, 'CREATE')
        FROM pg_roles AS r, pg_database AS d, pg_namespace AS n
        WHERE r.rolname = %s AND d.datname = current_database() AND n.nspname = 'public'
        """
    try:
        with place.opened() as connection:
            return bool(postgres.value(connection, query, (owner,)))
    except PipelineError:
        return False


def _never_dumped(missing: Collection[Missing]) -> list[Assertion]:
    """Say what a backup has not: what is in none is not news, and the rest costs a drill its best grade."""
    passwords = [one.name for one in missing if one.by_nature]
    other = [one.description for one in missing if not one.by_nature]
    what = "the planner's statistics, the server's configuration"
    if passwords:
        what = f"passwords ({', '.join(passwords)}), {what}"
    assertions = [Assertion(name="in no backup", held=True, detail=what)]
    if other:
        assertions.append(Assertion(name="not in this backup", held=None, detail="; ".join(other)))
    return assertions


def _lenient(assertion: Assertion) -> Assertion:
    return assertion.model_copy(update={"held": assertion.held or None})


def _pg_restore(settings: Settings, proven: Manifest) -> Tool:
    """Return a pg_restore that can read what pg_dump wrote. Raise StepError if there is none."""
    tool = tools.newest("pg_restore", settings.require_backup().postgres_bin)
    needed = tools.major(proven.client_version)
    if tool.major < needed:
        raise StepError(
            f"pg_restore {tool.version} ({tool.path}) is older than the pg_dump "
            f"{proven.client_version} that made this backup",
            hint=f"install the client of {needed}, or set [backup] postgres_bin",
        )
    return tool
