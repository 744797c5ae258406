"""What is set and granted on a database itself: pg_restore brings it only under the database's old name."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from psycopg2 import sql

from pipeline import postgres
from pipeline.backup.database import contents
from pipeline.backup.database.assertions import Assertion
from pipeline.backup.restoring.target import Target
from pipeline.backup.store.encrypted_properties import Properties
from pipeline.backup.store.manifest import Contents, DatabaseGrant, Setting
from pipeline.postgres import Connection

PRIVILEGES = ("CREATE", "CONNECT", "TEMPORARY")
UNLIMITED = -1


@dataclass(frozen=True)
class Applied:
    """What could not be set or granted, in words, and whether the rest is as it was."""

    remarks: tuple[str, ...]
    assertion: Assertion


def apply(place: Target, wanted: Contents, own: Properties, *, passing: bool) -> Applied:
    """Give a new database the settings, grants and limit of the one that was backed up, and compare them.

    A `passing` database is then opened to our login again, for who looks at it and removes it.
    """
    with place.opened() as connection:
        database = _Database(connection, sql.Identifier(place.database), wanted)
        database.set_all(own)
        database.grant_all()
        database.limit()
        problems = tuple(database.problems())
        if passing:
            database.open_again()
    count = f"{len(wanted.settings)} settings, {len(wanted.grants)} privileges on the database"
    return Applied(
        tuple(database.remarks),
        Assertion(
            name="settings and grants", held=not problems, detail="; ".join(problems) if problems else count
        ),
    )


@dataclass
class _Database:
    """A new database, and what it was given: `values` as the server took them."""

    connection: Connection
    name: sql.Identifier
    wanted: Contents
    remarks: list[str] = field(default_factory=list)
    values: dict[tuple[str | None, str], str] = field(default_factory=dict)
    left_out: set[Setting] = field(default_factory=set)
    refused: set[DatabaseGrant] = field(default_factory=set)

    @property
    def has_acl(self) -> bool:
        """Whether only those may do something that are listed; older manifests may not know."""
        return bool(self.wanted.database.has_acl or self.wanted.grants)

    def set_all(self, own: Properties) -> None:
        """Set what was set; no value of it is in a remark."""
        for setting in self.wanted.settings:
            value, why = own.value(setting), "its value is not in the backup"
            if value is not None:
                try:
                    self.values[setting.role, setting.name] = self._set(setting, value)
                    continue
                except postgres.Error as error:
                    why = postgres.message_of(error)
            self.left_out.add(setting)
            self.remarks.append(f"left out: the setting {_named(setting)} in the database ({why})")

    def _set(self, setting: Setting, value: str) -> str:
        whose = sql.SQL("ALTER DATABASE {}").format(self.name)
        if setting.role:
            whose = sql.SQL("ALTER ROLE {} IN DATABASE {}").format(sql.Identifier(setting.role), self.name)
        name = postgres.identifier(*setting.name.split("."))
        postgres.rows(self.connection, "BEGIN")
        try:
            # As it is written there, list or not: nothing has to be quoted anew. In this transaction alone.
            query = "SELECT set_config(%s, %s, true)"
            taken = postgres.value(self.connection, query, (setting.name, value))
            postgres.rows(self.connection, sql.SQL("{} SET {} FROM CURRENT").format(whose, name))
        except postgres.Error:
            postgres.rows(self.connection, "ROLLBACK")
            raise
        postgres.rows(self.connection, "COMMIT")
        return str(taken)

    def grant_all(self) -> None:
        """Let those do something who were let, and nobody else: the owner too may have taken his own away."""
        if not self.has_acl:
            return
        owner = self.wanted.database.owner
        revoke = sql.SQL("REVOKE {} ON DATABASE {} FROM {}")
        postgres.rows(self.connection, revoke.format(sql.SQL("ALL"), self.name, sql.SQL("PUBLIC")))
        for grant in self.wanted.grants:
            try:
                _grant(self.connection, self.name, grant)
            except postgres.Error as error:
                self.refused.add(grant)
                self.remarks.append(f"left out: {_described(grant)} ({postgres.message_of(error)})")
        kept = {grant.privilege for grant in self.wanted.grants if grant.grantee == owner}
        for privilege in PRIVILEGES:
            if privilege not in kept:
                parts = (sql.SQL(privilege), self.name, sql.Identifier(owner))
                postgres.rows(self.connection, revoke.format(*parts))

    def limit(self) -> None:
        """Set how many may be connected at once: last, for a restore has several sessions itself."""
        limit = self.wanted.database.connection_limit
        if limit is not None and limit != UNLIMITED:
            self._limit(limit)

    def _limit(self, limit: int) -> None:
        change = sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}")
        postgres.rows(self.connection, change.format(self.name, sql.Literal(limit)))

    def open_again(self) -> None:
        """Let our login connect."""
        self._limit(UNLIMITED)
        let = sql.SQL("GRANT CONNECT ON DATABASE {} TO CURRENT_USER")
        postgres.rows(self.connection, let.format(self.name))

    def problems(self) -> Iterator[str]:
        """Yield what is otherwise than it was, apart from what was left out; no value of a setting."""
        there = {(one.role, one.name): one.value for one in contents.properties(self.connection).settings}
        for one in self.wanted.settings:
            value = there.pop((one.role, one.name), None)
            if one in self.left_out:
                continue
            if value is None:
                yield f"the setting {_named(one)} is missing"
            elif value != self.values.get((one.role, one.name)):
                yield f"the setting {_named(one)} has another value"
        for role, name in there:
            yield f"the setting {_named(Setting(role=role, name=name))} was not in the backup"
        granted, wanted = set(contents.grants(self.connection)), set(self.wanted.grants)
        yield from (
            f"{_described(one)} is missing" for one in sorted(wanted - granted - self.refused, key=str)
        )
        yield from (f"{_described(one)} was not in the backup" for one in sorted(granted - wanted, key=str))
        # How large it is may be asked only by who may connect.
        query = "SELECT datacl IS NOT NULL, datconnlimit FROM pg_database WHERE datname = current_database()"
        has_acl, limit = postgres.rows(self.connection, query)[0]
        before = self.wanted.database
        if before.has_acl is not None and has_acl != self.has_acl:
            yield f"has_acl of the database is {has_acl} instead of {self.has_acl}"
        if before.connection_limit is not None and limit != before.connection_limit:
            yield f"the connection limit is {limit} instead of {before.connection_limit}"


def _named(setting: Setting) -> str:
    return f"{setting.name} of {setting.role}" if setting.role else setting.name


def _described(grant: DatabaseGrant) -> str:
    option = " WITH GRANT OPTION" if grant.grantable else ""
    return f"{grant.privilege} on the database for {grant.grantee or 'PUBLIC'}{option}"


def _grant(connection: Connection, database: sql.Identifier, grant: DatabaseGrant) -> None:
    words = sql.SQL("GRANT {} ON DATABASE {} TO {}").format(
        sql.SQL(grant.privilege),
        database,
        sql.Identifier(grant.grantee) if grant.grantee else sql.SQL("PUBLIC"),
    )
    option = sql.SQL(" WITH GRANT OPTION" if grant.grantable else "")
    postgres.rows(connection, sql.Composed([words, option]))
