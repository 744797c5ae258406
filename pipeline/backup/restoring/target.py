"""Where a backup is restored: a database on some server, looked at before anything is written into it."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import quote, urlsplit

from psycopg2 import sql

from pipeline import postgres
from pipeline.backup import tools
from pipeline.backup.database import contents
from pipeline.backup.store.manifest import Database, Manifest
from pipeline.errors import StepError, UsageError
from pipeline.postgres import Connection, locks

# Told of a database until all of it is restored: whoever finds it may remove it.
UNFINISHED = "pipeline: a restore that is not complete"


class LocaleProvider(StrEnum):
    """Whose rules order texts, by the letter in pg_database.datlocprovider; its name is that of the SQL."""

    LIBC = "c"
    ICU = "i"
    BUILTIN = "b"


FIRST_WITH_PROVIDERS = 150000
# The template that has nothing of anybody's, and whose encoding and locale may be changed.
EMPTY = "template0"
# A restore waits for nothing and nobody cuts it short.
SESSION: Mapping[str, str] = {"statement_timeout": "0", "lock_timeout": "30s"}
# In a database that we made, and that is read-only by default as the one that was backed up.
WRITING: Mapping[str, str] = {"default_transaction_read_only": "off"}


@dataclass(frozen=True)
class Target:
    """A database, or one on its server to begin from. `name` is for people and holds no credential."""

    uri: str = field(repr=False)
    name: str

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables that take PostgreSQL's programs there: for one child's environment."""
        return postgres.program_environment(self.uri, self.name)

    @property
    def login(self) -> str:
        """Return the role that logs in."""
        return self.environment.get("PGUSER", "")

    @property
    def database(self) -> str:
        """Return what the database is called."""
        return self.environment.get("PGDATABASE", "")

    def on(self, database: str) -> "Target":
        """Return another database of the same server."""
        return at(urlsplit(self.uri)._replace(path=f"/{quote(database, safe='')}").geturl())

    def opened(
        self, *, autocommit: bool = True, session: Mapping[str, str] | None = None
    ) -> contextlib.AbstractContextManager[Connection]:
        """Open it."""
        return postgres.connection(
            self.uri, self.name, autocommit=autocommit, session={**SESSION, **(session or {})}
        )


def at(uri: str) -> Target:
    """Return the database at a URI."""
    variables = postgres.program_environment(uri, "the target")
    place = f"{variables.get('PGHOST', 'local')}:{variables.get('PGPORT', '5432')}"
    return Target(uri, f"database {variables.get('PGDATABASE', '?')} on {place}")


def require_writable(connection: Connection, name: str) -> None:
    """Raise StepError if nothing can be written there."""
    if why := postgres.read_only(connection):
        raise StepError(f"{name}: {why}")


def require_new_enough(connection: Connection, manifest: Manifest, name: str) -> None:
    """Raise StepError if the server is older than the pg_dump or the server that the backup is from."""
    server = connection.server_version // 10000
    needed = max(tools.major(manifest.client_version), manifest.contents.database.version_number // 10000)
    if server < needed:
        version = postgres.value(connection, "SELECT current_setting('server_version')")
        raise StepError(
            f"{name}: PostgreSQL {version} is too old for a backup that pg_dump "
            f"{manifest.client_version} made of a {manifest.contents.database.version}",
            hint=f"restore into {needed} or later",
        )


def require_extensions(connection: Connection, manifest: Manifest, name: str) -> None:
    """Raise StepError if the server has not the extensions that the database uses."""
    there = {one for (one,) in postgres.rows(connection, "SELECT name FROM pg_available_extensions")}
    missing = [one.name for one in manifest.contents.extensions if one.name not in there]
    if missing:
        raise StepError(
            f"{name}: the server lacks the extension {', '.join(missing)}, which the database uses",
            hint="install it there (in Debian postgresql-contrib, or a package of its own), then "
            "restore again",
        )


def require_empty(connection: Connection, name: str) -> None:
    """Raise UsageError if there is anything in the database that a restore could meet."""
    objects = contents.objects(connection)
    kinds = [
        f"{one.count} {one.kind}" for one in objects if one.kind not in ("schema", "constraint", "index")
    ]
    schemas = sum(one.count for one in objects if one.kind == "schema")
    public = postgres.value(connection, "SELECT count(*) FROM pg_namespace WHERE nspname = 'public'")
    if schemas > public:
        kinds.append(f"{schemas - public} schema")
    if kinds:
        raise UsageError(
            f"{name}: is not empty (it has {', '.join(kinds)})",
            hint="restore into an empty database or with --into-new, or add --clean, which drops the "
            "objects of the backup there first",
        )


def require_no_table(connection: Connection, table: str, name: str) -> None:
    """Raise UsageError if the database has that table (schema.name) already."""
    query = """
        SELECT 1 FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname || '.' || c.relname = %s
        """
    if postgres.row(connection, query, (table,)) is not None:
        raise UsageError(
            f"{name}: already has a table {table}",
            hint="rename it, or restore into another database, or add --clean, which drops it first",
        )


def names_in(connection: Connection) -> frozenset[str]:
    """Return what the database has already that a table may need, as a dump names it: `TYPE public.mood`."""
    query = """
        SELECT 'SCHEMA ' || nspname FROM pg_namespace
        UNION ALL SELECT 'EXTENSION ' || extname FROM pg_extension
        UNION ALL
        SELECT k.kind || n.nspname || '.' || t.typname
        FROM pg_type AS t JOIN pg_namespace AS n ON n.oid = t.typnamespace
        CROSS JOIN (VALUES ('TYPE '), ('DOMAIN ')) AS k (kind)
        UNION ALL
        SELECT 'SEQUENCE ' || n.nspname || '.' || c.relname
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.relkind = 'S'
        UNION ALL
        SELECT 'FUNCTION ' || n.nspname || '.' || p.proname
        FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace WHERE n.nspname <> 'pg_catalog'
        """
    return frozenset(name for (name,) in postgres.rows(connection, query))


def require_free(connection: Connection, place: Target) -> bool:
    """Return whether an earlier restore left a database of that name unfinished.

    Raise UsageError if there is any other.
    """
    query = """
        SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s
        """
    there = postgres.row(connection, query, (place.database,))
    if there is not None and there[0] != UNFINISHED:
        raise UsageError(
            f"{place.name}: a database of that name exists already",
            hint="choose another name, or drop that database",
        )
    return there is not None


def make(connection: Connection, place: Target, wanted: Database) -> None:
    """Make a database with owner, encoding and locale of the one that was backed up, marked as unfinished.

    `connection` is to another database of the server, and commits each statement. One that an earlier restore
    left unfinished is removed first; raise UsageError if there is any other, StepError if it cannot be made.
    """
    database = place.database
    if require_free(connection, place):
        drop(connection, place)
    with postgres.explained(place.name):
        postgres.rows(connection, _creation(connection, database, wanted))
        comment = sql.SQL("COMMENT ON DATABASE {} IS {}")
        postgres.rows(connection, comment.format(sql.Identifier(database), sql.Literal(UNFINISHED)))


def finish(connection: Connection, database: str, comment: str | None = None) -> None:
    """Say that all of a database is restored, and give it its comment."""
    words = sql.SQL("COMMENT ON DATABASE {} IS {}")
    postgres.rows(connection, words.format(sql.Identifier(database), sql.Literal(comment)))


def drop(connection: Connection, place: Target) -> None:
    """Remove a database, whoever is in it. `connection` is to another one of its server."""
    name = sql.Identifier(place.database)
    with postgres.explained(place.name):
        _drop_subscriptions(connection, place)
        try:
            postgres.rows(connection, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        except postgres.InsufficientPrivilege:
            # Autovacuum is in it, which only a superuser may end by force; without force PostgreSQL
            # itself asks it to leave, and waits.
            postgres.rows(connection, sql.SQL("DROP DATABASE IF EXISTS {}").format(name))


def _drop_subscriptions(connection: Connection, place: Target) -> None:
    """Remove what keeps a database from being dropped; the server that it was to follow is not asked."""
    query = """
        SELECT s.subname FROM pg_subscription AS s JOIN pg_database AS d ON d.oid = s.subdbid
        WHERE d.datname = %s
        """
    names = [sql.Identifier(name) for (name,) in postgres.rows(connection, query, (place.database,))]
    if not names:
        return
    with place.opened(session=WRITING) as inside:
        for name in names:
            for what in ("ALTER SUBSCRIPTION {} DISABLE", "ALTER SUBSCRIPTION {} SET (slot_name = NONE)"):
                postgres.rows(inside, sql.SQL(what).format(name))
            postgres.rows(inside, sql.SQL("DROP SUBSCRIPTION {}").format(name))


def unfinished(connection: Connection, prefix: str) -> tuple[str, ...]:
    """Return the databases whose names begin so, and whose restore was not completed."""
    query = """
        SELECT datname FROM pg_database
        WHERE starts_with(datname, %s) AND shobj_description(oid, 'pg_database') = %s
        """
    return tuple(name for (name,) in postgres.rows(connection, query, (prefix, UNFINISHED)))


def _creation(connection: Connection, database: str, wanted: Database) -> sql.Composed:
    words: list[sql.Composable] = [
        sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {} ENCODING {} LC_COLLATE {} LC_CTYPE {}").format(
            sql.Identifier(database),
            sql.Identifier(wanted.owner),
            sql.Identifier(template(connection, wanted)),
            sql.Literal(wanted.encoding),
            sql.Literal(wanted.collate),
            sql.Literal(wanted.ctype),
        )
    ]
    if connection.server_version >= FIRST_WITH_PROVIDERS:
        words.append(sql.SQL(f"LOCALE_PROVIDER {LocaleProvider(wanted.locale_provider).name}"))
    if wanted.locale_provider == LocaleProvider.ICU:
        words.append(sql.SQL("ICU_LOCALE {}").format(sql.Literal(wanted.locale)))
    if wanted.icu_rules is not None:
        words.append(sql.SQL("ICU_RULES {}").format(sql.Literal(wanted.icu_rules)))
    if wanted.locale_provider == LocaleProvider.BUILTIN:
        words.append(sql.SQL("BUILTIN_LOCALE {}").format(sql.Literal(wanted.locale)))
    return sql.SQL(" ").join(words)


def template(connection: Connection, wanted: Database) -> str:
    """Return template1, into which administrators put extensions, where it has the locale that is wanted."""
    query = """
        SELECT pg_encoding_to_char(encoding), datcollate, datctype,
               coalesce(to_jsonb(d) ->> 'datlocprovider', 'c'),
               coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale'),
               to_jsonb(d) ->> 'daticurules'
        FROM pg_database AS d WHERE datname = 'template1'
        """
    locale = (wanted.locale_provider, wanted.locale, wanted.icu_rules)
    same = (wanted.encoding, wanted.collate, wanted.ctype, *locale)
    return "template1" if postgres.row(connection, query) == same else EMPTY


@contextlib.contextmanager
def alone(connection: Connection, lock: int) -> Iterator[bool]:
    """Hold an advisory lock of the server during the block; yield whether it was free."""
    got = locks.try_hold(connection, lock)
    try:
        yield got
    finally:
        if got and not connection.closed:
            locks.release(connection, lock)
