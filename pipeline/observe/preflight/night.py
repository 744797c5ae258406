"""What a night needs: the scheduler, the folders, Vault, the databases, and what shows the marts."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline import access, alerts, catalog, ledger, mask, postgres
from pipeline.access import Access
from pipeline.backup import tools
from pipeline.backup.database import privileges
from pipeline.backup.pgbackrest import comparison, machine, repository
from pipeline.catalog import Catalog
from pipeline.dashboards import instance
from pipeline.errors import PipelineError, UnreachableError
from pipeline.loading import readable
from pipeline.metabase import Client
from pipeline.observe.preflight import archive
from pipeline.observe.preflight.finding import Finding, checked, unwritable
from pipeline.postgres import snapshot
from pipeline.report import drawn
from pipeline.retry import RetryPolicy
from pipeline.scheduler import visualizer
from pipeline.settings import Settings, weakened
from pipeline.settings.sections import MetabaseSettings
from pipeline.warehouse import roles

# Whether it answers is asked once, and not waited for.
AT_ONCE = RetryPolicy(give_up_after_seconds=0.0)
# With less, not even the night's logs and alerts have room.
LEAST_BYTES = 1 << 20
# Which database of which server this is.
PLACE = "SELECT system_identifier, current_database()::text FROM pg_control_system()"


def everything(settings: Settings, scheduler: str) -> Iterator[Finding]:
    """Yield what is found of each thing. One thing's failure hides no other's.

    `scheduler` is the URL of Luigi's scheduler.
    """
    yield checked("scheduler", lambda: visualizer.problems(settings, scheduler))
    # A night goes on with them, but not as safely.
    yield Finding("Luigi", warnings=tuple(weakened()))
    yield from folders(settings)
    declared: list[Catalog] = []
    if settings.analysts is not None:
        yield checked("catalog", lambda: _catalog(settings, declared))
    try:
        with access.opened(settings) as databases:
            yield Finding("Vault")
            yield _alerts(settings, databases)
            if any(source.hashes for catalog_ in declared for source in catalog_.sources.values()):
                yield checked("masks", lambda: _masks(databases))
            yield from _databases(settings, databases, declared)
            if any(catalog_.marts for catalog_ in declared):
                yield checked("marts", lambda: _marts(databases))
            for finding in _shown(settings, databases):
                # A night is done without it.
                yield replace(finding, problems=(), warnings=finding.problems)
            if settings.backup is not None:
                yield from archive.findings(settings.backup, settings, databases)
    except UnreachableError as error:
        yield Finding("Vault", tuple(str(error).splitlines()))


def _marts(databases: Access) -> list[str]:
    """Return what would keep a mart from being built: the roles, and the login that runs its SQL."""
    with databases.warehouse() as warehouse:
        if not roles.there(warehouse):
            return ["the warehouse's roles for analysts are missing; run 'pipeline migrate'"]
        group = roles.of(warehouse).analyst
    with databases.analyst() as theirs:
        if postgres.value(theirs, "SELECT pg_has_role(%s, 'MEMBER')", (group,)):
            return []
        login = theirs.info.user
    return [
        f'the login "{login}" is not a member of "{group}"; GRANT "{group}" TO "{login}" in the warehouse'
    ]


def _shown(settings: Settings, databases: Access) -> Iterator[Finding]:
    """Yield what is found of what shows the marts: what draws, what reads, and Metabase."""
    if settings.report is not None:
        yield checked("report", _drawing)
    if settings.report is not None or settings.metabase is not None:
        yield checked("dashboards", lambda: _dashboards(databases))
    if (asked := settings.metabase) is not None:
        yield checked("Metabase", lambda: _metabase(asked, databases))


def _drawing() -> list[str]:
    drawn.Pencil()
    return []


def _metabase(asked: MetabaseSettings, databases: Access) -> list[str]:
    """Return what would keep dashboards from being applied: its health, its version, our key. Make none."""
    with contextlib.closing(Client(asked.url, starting=AT_ONCE)) as client, client.understood():
        if instance.opened(client, asked, databases.vault, None, lambda _line: None):
            return []
    return [
        f"it does not accept our API key, or there is none in Vault at {asked.api_key}; "
        "run 'pipeline dashboards apply' with a login that may read the password and write the key"
    ]


def _dashboards(databases: Access) -> list[str]:
    """Return what would keep dashboards from reading: of the page, and of Metabase."""
    with databases.warehouse() as warehouse:
        group = roles.of(warehouse).dashboards
    with databases.dashboards() as theirs:
        if postgres.value(theirs, "SELECT pg_has_role(%s, 'MEMBER')", (group,)):
            return []
        login = theirs.info.user
    return [f'the login "{login}" may not read dashboards; GRANT "{group}" TO "{login}" in the warehouse']


def folders(settings: Settings) -> Iterator[Finding]:
    """Yield what is found of each folder that is written to. Makes none."""
    logs = settings.logs.folder
    # The steps go on without their logs.
    yield Finding(f"folder {logs}", warnings=tuple(_unwritable(logs, "[logs] folder")))
    if settings.report is not None:
        page = settings.report.folder
        yield Finding(f"folder {page}", warnings=tuple(_unwritable(page, "[report] folder")))
    if settings.alerts is not None:
        spool = settings.alerts.spool
        yield Finding(f"folder {spool}", tuple(_unwritable(spool, "[alerts] spool")))
    if settings.backup is not None and settings.databases:
        work = settings.backup.work_dir
        yield Finding(f"folder {work}", tuple(_unwritable(work, "[backup] work_dir")))


def _unwritable(folder: Path, setting: str) -> list[str]:
    """Say why nothing can be written to a folder that is there, or that would have to be made first."""
    there = next(path for path in (folder, *folder.parents) if _is_there(path))
    if not there.is_dir():
        return [f"{there} is a file, not a folder; move it away, or set {setting}"]
    disk = os.statvfs(there)
    if disk.f_flag & os.ST_RDONLY:
        return [f"its file system is read-only; mount it so that it can be written, or set {setting}"]
    if os.access(there, os.W_OK | os.X_OK):
        free = disk.f_bavail * disk.f_frsize
        # A file system that has no number of files of its own says 0 of 0.
        full = free < LEAST_BYTES or (disk.f_files and not disk.f_favail)
        return (
            [f"its disk is full ({free:,} bytes are free); make room there, or set {setting}"] if full else []
        )
    user = os.geteuid()
    what = "may" if there == folder else f"cannot be reached or created, because {there} may"
    command = f"install -d -m 0700 -o {user} {folder}"
    return [f"it {what} not be written by this user ({user}); type: {command}; or set {setting}"]


def _is_there(path: Path) -> bool:
    """Whether this user can see that it is there: not in a folder that is closed to him."""
    try:
        return path.exists()
    except PermissionError:
        return False


def _alerts(settings: Settings, databases: Access) -> Finding:
    if settings.alerts is None:
        return Finding(
            "alerts",
            warnings=("no alert is sent when something fails; write [alerts] with secret = PATH_IN_VAULT",),
        )
    return checked("alerts", lambda: alerts.problems(settings, databases))


def _masks(databases: Access) -> list[str]:
    mask.require_long(databases.mask_key())
    return []


def _catalog(settings: Settings, catalogs: list[Catalog]) -> list[str]:
    """Return what the catalog and the settings do not agree on; what was read is added to `catalogs`."""
    declared = catalog.read(settings.require_analysts().checkout)
    catalogs.append(declared)
    return [
        f"sources/{name}.yaml has no section [source.{name}] in luigi.cfg; write it"
        for name in declared.sources
        if name not in settings.sources
    ]


def _repeated(settings: Settings, first: str, name: str, database: str) -> str:
    """Return a warning: two sections lead to one database, as by a wrong entry in Vault.

    So do those of a server and of another one that was copied from it as a whole: both have one identifier.
    """
    entries = [settings.databases[one].secret for one in (first, name)]
    hint = "correct secret in one of them"
    if len(set(entries)) > 1:
        hint = f"correct uri in the entry of one of them in Vault, {entries[0]} or {entries[1]}"
    return f'[database.{first}] and [database.{name}] both back up "{database}" of one server; {hint}'


def _databases(settings: Settings, databases: Access, declared: Sequence[Catalog]) -> Iterator[Finding]:
    def warehouse() -> list[str]:
        with databases.warehouse() as connection:
            lines = [*unwritable(connection), *postgres.unheeded(connection)]
            encoding = postgres.value(connection, "SHOW server_encoding")
            if encoding != postgres.ENCODING:
                lines.append(
                    f"its encoding is {encoding}, which lacks characters that a source may have; create "
                    f"it again in {postgres.ENCODING}"
                )
            if not postgres.value(connection, "SELECT has_database_privilege(current_database(), 'CREATE')"):
                lines.append("its role may not create schemas; GRANT CREATE ON DATABASE to it")
            if not lines:
                ledger.require_migrated(connection)
            return lines

    def source(name: str) -> list[str]:
        with databases.source(name) as connection:
            snapshot.take(connection)
            tables = [
                line
                for catalog_ in declared
                if name in catalog_.sources
                for line in readable.problems(connection, catalog_.sources[name])
            ]
            return [*tables, *postgres.unheeded(connection)]

    # By server and name of a database: the section that backs it up, or the first of several.
    sections: dict[tuple[object, ...], str] = {}
    repeated: dict[str, list[str]] = {}

    def database(name: str) -> list[str]:
        with databases.database(name) as connection, postgres.explained(f"database {name}"):
            place = postgres.rows(connection, PLACE)[0]
            if (first := sections.setdefault(place, name)) != name:
                repeated[name] = [_repeated(settings, first, name, place[1])]
            client = tools.newest("pg_dump", settings.require_backup().postgres_bin)
            server = connection.server_version // 10000
            lines = [*privileges.lacking(connection), *postgres.unheeded(connection)]
        if client.major < server:
            lines.append(
                f"pg_dump {client.version} is older than its server, {server}; install a newer client"
            )
        return lines

    def beside(name: str, stanza: str) -> list[str]:
        with databases.database(name) as connection:
            of = comparison.server(connection)
        # Read after it: what it had archived has to be there by now.
        problems = comparison.problems(name, of, repository.read(settings.pgbackrest, stanza))
        try:
            machine.programs(settings.pgbackrest, str(of.major))
            machine.account(settings.pgbackrest)
        except PipelineError as error:
            problems.append(f"it cannot be drilled on this machine: {error}")
        return problems

    if settings.warehouse is not None:
        yield checked("warehouse", warehouse)
    for name in settings.sources:
        yield checked(f"source {name}", lambda name=name: source(name))  # type: ignore[misc]
    if settings.backup is not None:
        for name in settings.databases:
            finding = checked(f"database {name}", lambda name=name: database(name))  # type: ignore[misc]
            yield replace(finding, warnings=tuple(repeated.get(name, ())))
    for name, one in settings.databases.items():
        if one.pgbackrest:
            finding = checked(f"pgBackRest {name}", lambda name=name, one=one: beside(name, one.pgbackrest))  # type: ignore[misc]
            # Our own backups are made without it.
            yield replace(finding, problems=(), warnings=finding.problems)
