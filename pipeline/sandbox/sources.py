"""The source databases: the samples, what changes in them on day 2, and databases that a person adds."""

import threading
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from psycopg2 import sql

from pipeline import names
from pipeline.errors import StepError, UsageError
from pipeline.sandbox import provision
from pipeline.sandbox.home import Home
from pipeline.sandbox.servers import clusters, processes
from pipeline.sandbox.servers.server import plain_environment

SAMPLES = ("hr", "records", "service_desk")
DAY_2 = "day 2"
# A database is filled under this name and then renamed: under its own name it is there wholly or not at all.
PARTIAL_SUFFIX = "_partial"
OF_A_DUMP = "make the dump with pg_dump --no-owner --no-privileges, which needs no roles"
TAKEN = ("postgres", "template0", "template1", "warehouse", "drill", "sources")


def script(name: str) -> Path:
    """Return one of the sample scripts."""
    return Path(str(resources.files("pipeline.sandbox"))) / "sql" / f"{name}.sql"


def make(home: Home, name: str, file: Path | None, stopping: threading.Event, *, as_owner: bool) -> bool:
    """Make a source database from a script, in one transaction; return False if it is there already.

    Raise StepError if the script fails; then nothing is left of the database.
    """
    partial = name + PARTIAL_SUFFIX
    with (
        clusters.connection(home, provision.SOURCES, "postgres") as connection,
        connection.cursor() as cursor,
    ):
        if provision.database_exists(connection, name):
            return False
        provision.ensure_owner(connection, name)
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(partial))
        cursor.execute(drop)
        try:
            # template0: a dump expects an empty database, and encoding and locale are then our own choice.
            cursor.execute(
                sql.SQL(f"CREATE DATABASE {{}} OWNER {{}} TEMPLATE template0 {clusters.COPIED}").format(
                    sql.Identifier(partial), sql.Identifier(provision.owner(name))
                )
            )
            if file is not None:
                role = provision.owner(name) if as_owner else clusters.SUPERUSER
                run_script(home, partial, ["--single-transaction", f"--file={file}"], role, stopping)
            cursor.execute(
                sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
                    sql.Identifier(partial), sql.Identifier(name)
                )
            )
        except BaseException:
            cursor.execute(drop)
            raise
    return True


def run_script(
    home: Home, database: str, script_arguments: Sequence[str], role: str, stopping: threading.Event
) -> None:
    """Run psql on a source database. Raise StepError with what it says at the first error."""
    connecting = clusters.socket_arguments(home, provision.SOURCES)
    options = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--dbname={database}"]
    processes.run(
        [clusters.BINARIES / "psql", *connecting, *options, *script_arguments],
        stopping=stopping,
        environment={
            **plain_environment(),
            "PGOPTIONS": f"{clusters.UNHINDERED} -c role={role}",
            "PGCLIENTENCODING": "UTF8",
        },
    )


def day_2(home: Home, stopping: threading.Event) -> list[str]:
    """Apply the changes of day 2 to the samples, and return those to which they had not been applied yet."""
    return [name for name in SAMPLES if _day_2(home, name, stopping)]


def _day_2(home: Home, name: str, stopping: threading.Event) -> bool:
    with clusters.connection(home, provision.SOURCES, name) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()"
        )
        ((answer,),) = cursor.fetchall()
        if answer == DAY_2:
            return False
    # The script says so itself, in the transaction that makes the changes.
    run_script(home, name, [f"--file={script('day2_' + name)}"], provision.owner(name), stopping)
    return True


def check_name(home: Home, name: str) -> None:
    """Raise UsageError if no new source can be called `name`."""
    if problem := names.problem(name):
        raise UsageError(problem)
    if name in TAKEN:
        raise UsageError(f'the name "{name}" is reserved by the sandbox; choose another')
    if name in home.state.databases:
        raise UsageError(f"source {name} exists already; choose another name")


def add(home: Home, name: str, file: Path | None, stopping: threading.Event) -> None:
    """Make a source database from a plain SQL dump, with its roles and credentials.

    Without a dump it is empty, or the database of that name that is there already is taken as it is.
    Raise StepError if the dump has an error; nothing is left of the database then.
    """
    check_name(home, name)
    if file is not None and not file.is_file():
        raise UsageError(f"{file}: no such file; name a plain SQL dump (pg_dump --no-owner --no-privileges)")
    made = True
    try:
        made = make(home, name, file and file.absolute(), stopping, as_owner=False)
        if made or file is None:
            provision.source(home, name)
    except BaseException as error:
        if made:
            provision.remove_source(home, name)
        if isinstance(error, StepError):
            raise StepError(
                f"{name}: not added, and everything of it was removed: {error}",
                hint=OF_A_DUMP if file else "",
            ) from None
        raise
    if not made and file is not None:
        raise UsageError(
            f"database {name} exists already; use it as it is with 'bin/sandbox add {name}', "
            f"or drop it with 'bin/sandbox psql hr -c \"DROP DATABASE {name}\"'"
        )
    with home.changing() as state:
        state.databases.append(name)
