"""Check: looks, before a night does, whether everything that a night needs is there and lets us in.

A problem would stop a night or a backup; a warning is something that the night would go on without.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline import access, alerts, catalog, crypt, ledger, mask, postgres
from pipeline.access import Access
from pipeline.backup import tools
from pipeline.backup.database import privileges
from pipeline.catalog import Catalog
from pipeline.dashboards import instance
from pipeline.errors import PipelineError, StepError, UnreachableError
from pipeline.metabase import Client
from pipeline.postgres import Connection, snapshot
from pipeline.report import drawn
from pipeline.retry import RetryPolicy
from pipeline.scheduler import visualizer
from pipeline.settings import BackupSettings, Settings, weakened
from pipeline.settings.sections import MetabaseSettings
from pipeline.warehouse import roles

# Whether it answers is asked once, and not waited for.
AT_ONCE = RetryPolicy(give_up_after_seconds=0.0)


@dataclass(frozen=True)
class Finding:
    """What was looked at, and what is wrong with it and what to do; nothing, if all is well."""

    thing: str
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def everything(settings: Settings, scheduler: str) -> Iterator[Finding]:
    """Yield what is found of each thing. One thing's failure hides no other's.

    `scheduler` is the URL of Luigi's scheduler.
    """
    yield _looked("scheduler", lambda: visualizer.problems(settings, scheduler))
    # A night goes on with them, but not as safely.
    yield Finding("Luigi", warnings=tuple(weakened()))
    yield from folders(settings)
    declared: list[Catalog] = []
    if settings.analysts is not None:
        yield _looked("catalog", lambda: _catalog(settings, declared))
    try:
        with access.opened(settings) as databases:
            yield Finding("Vault")
            yield _alerts(settings, databases)
            if any(source.hashes for catalog_ in declared for source in catalog_.sources.values()):
                yield _looked("masks", lambda: _masks(databases))
            yield from _databases(settings, databases)
            if any(catalog_.marts for catalog_ in declared):
                yield _looked("marts", lambda: _marts(databases))
            for found in _shown(settings, databases):
                # A night is done without it.
                yield replace(found, problems=(), warnings=found.problems)
            if settings.backup is not None:
                yield from _backups(settings.backup, settings, databases)
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
        yield _looked("report", _drawing)
    if settings.report is not None or settings.metabase is not None:
        yield _looked("dashboards", lambda: _dashboards(databases))
    if (asked := settings.metabase) is not None:
        yield _looked("Metabase", lambda: _metabase(asked, databases))


def _drawing() -> list[str]:
    drawn.Pencil()
    return []


def _metabase(asked: MetabaseSettings, databases: Access) -> list[str]:
    """Return what would keep dashboards from being applied: its health, its version, our key. Make none."""
    with contextlib.closing(Client(asked.url, starting=AT_ONCE)) as client:
        if instance.opened(client, asked, databases.vault, None, lambda _line: None):
            return []
    return [
        f"it has no key of ours: the one in Vault at {asked.api_key} is missing, or it does not accept it; "
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


def _looked(thing: str, look: Callable[[], list[str]]) -> Finding:
    try:
        problems = look()
    except PipelineError as error:
        problems = str(error).splitlines()
    # What a step says begins with its name, as does each line here.
    return Finding(thing, tuple(problem.removeprefix(f"{thing}: ") for problem in problems))


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
        return [f"{there} is a file and not a folder; move it away, or set {setting}"]
    if os.access(there, os.W_OK | os.X_OK):
        return []
    user = os.geteuid()
    what = "may" if there == folder else f"cannot be reached or made, for {there} may"
    command = f"install -d -m 0700 -o {user} {folder}"
    return [f"it {what} not be written to by this user ({user}); type: {command}; or set {setting}"]


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
            warnings=("nobody is told when something fails; write [alerts] with secret = PATH_IN_VAULT",),
        )
    return _looked("alerts", lambda: alerts.problems(settings, databases))


def _masks(databases: Access) -> list[str]:
    mask.require_long(databases.mask_key())
    return []


def _catalog(settings: Settings, found: list[Catalog]) -> list[str]:
    """Return what the catalog and the settings do not agree on; what was read is added to `found`."""
    declared = catalog.read(settings.require_analysts().checkout)
    found.append(declared)
    return [
        f"sources/{name}.yaml has no section [source.{name}] in luigi.cfg; write it"
        for name in declared.sources
        if name not in settings.sources
    ]


def _databases(settings: Settings, databases: Access) -> Iterator[Finding]:
    def warehouse() -> list[str]:
        with databases.warehouse() as connection:
            found = [*_writable(connection), *postgres.unheeded(connection)]
            encoding = postgres.value(connection, "SHOW server_encoding")
            if encoding != postgres.ENCODING:
                found.append(
                    f"its encoding is {encoding}, which has not every character that a source may have; make "
                    f"it in {postgres.ENCODING}"
                )
            if not postgres.value(connection, "SELECT has_database_privilege(current_database(), 'CREATE')"):
                found.append("its role may not make schemas; GRANT CREATE ON DATABASE to it")
            if not found:
                ledger.require_migrated(connection)
            return found

    def source(name: str) -> list[str]:
        with databases.source(name) as connection:
            snapshot.take(connection)
            return postgres.unheeded(connection)

    def database(name: str) -> list[str]:
        with databases.database(name) as connection:
            client = tools.newest("pg_dump", settings.require_backup().postgres_bin)
            server = connection.server_version // 10000
            found = [*privileges.lacking(connection), *postgres.unheeded(connection)]
        if client.major < server:
            found.append(
                f"pg_dump {client.version} is older than its server, {server}; install a newer client"
            )
        return found

    if settings.warehouse is not None:
        yield _looked("warehouse", warehouse)
    for name in settings.sources:
        yield _looked(f"source {name}", lambda name=name: source(name))  # type: ignore[misc]
    if settings.backup is not None:
        for name in settings.databases:
            yield _looked(f"database {name}", lambda name=name: database(name))  # type: ignore[misc]


def _writable(connection: Connection) -> list[str]:
    return [why] if (why := postgres.read_only(connection)) else []


def _keys(backup: BackupSettings) -> dict[str, frozenset[str]]:
    """Return what each key of a night needs; one may do for both."""
    from pipeline.bucket import VERIFIER, WRITER  # noqa: PLC0415 - the SDK is slow to import

    if backup.verify_secret is None or backup.verify_secret == backup.secret:
        return {backup.secret: WRITER | VERIFIER}
    return {backup.secret: WRITER, backup.verify_secret: VERIFIER}


def _backups(backup: BackupSettings, settings: Settings, databases: Access) -> Iterator[Finding]:
    def recipients() -> list[str]:
        with TemporaryDirectory() as folder:
            now = datetime.now(UTC)
            with crypt.keyring(backup.recipients, now=now, folder=Path(folder)) as keyring:
                return list(keyring.warnings)

    def bucket() -> list[str]:
        if backup.audit_secret is None:
            return ["its rules cannot be looked at: name a key that reads them in [backup] audit_secret"]
        with databases.bucket(backup.audit_secret) as opened:
            return opened.inspect().problems(keep_days=backup.keep_days, lock_days=backup.lock_days or None)

    def drill() -> list[str]:
        with postgres.connection(databases.drill_uri(), "the drill server") as connection:
            return [*_writable(connection), *postgres.unheeded(connection)]

    def key(secret: str, needed: frozenset[str]) -> list[str]:
        with databases.bucket(secret) as opened:
            lacking = sorted(needed - opened.capabilities)
        return [f"it lacks {', '.join(lacking)}; make one with that capability"] if lacking else []

    yield _looked("recipients", recipients)
    yield _looked(f"bucket {backup.bucket}", bucket)
    for secret, needed in _keys(backup).items():
        yield _looked(f"key {secret}", lambda secret=secret, needed=needed: key(secret, needed))  # type: ignore[misc]
    if settings.drill is not None:
        yield _looked("drill", drill)


def fix(settings: Settings, admin_secret: str, token_file: Path) -> str:
    """Give the bucket its lifecycle rules and lock, and return what was done.

    The key of the bucket's admin is at `admin_secret` in Vault, where the nightly login cannot read:
    `token_file` has a token that can. Raise UnreachableError if either does not suffice, StepError if rules
    are in the way.
    """
    backup = settings.require_backup()
    login = settings.vault.model_copy(update={"auth": "token", "credential_file": token_file})
    person = settings.model_copy(update={"vault": login})
    with access.opened(person) as databases, databases.bucket(admin_secret) as opened:
        applied = opened.apply(keep_days=backup.keep_days, lock_days=backup.lock_days or None)
    left = applied.problems(keep_days=backup.keep_days, lock_days=backup.lock_days or None)
    if left:
        raise StepError("; ".join(left))
    lock = f", and locks what comes for {backup.lock_days} days" if backup.lock_days else ""
    return f"bucket {backup.bucket} keeps backups for {backup.keep_days} days{lock}"
