"""A backup restored into an empty database, and compared with its manifest. It needs the bucket, Vault and a
PostgreSQL server, and nothing else.
"""

import contextlib
from pathlib import Path

from pipeline import access
from pipeline.access import Access
from pipeline.backup.database import contents
from pipeline.backup.restoring import restoration, rights, roles, target
from pipeline.backup.restoring.restoration import Order, Restoration, Restored
from pipeline.backup.restoring.target import Target
from pipeline.backup.store import choice, fetch
from pipeline.backup.store.fetch import Show
from pipeline.backup.store.manifest import Manifest
from pipeline.backup.work.work_folder import RESTORE, RESTORES
from pipeline.bucket import Bucket
from pipeline.errors import UnreachableError, UsageError
from pipeline.postgres import Connection
from pipeline.settings import Settings
from pipeline.system import temporary

VAULT = "vault:"
# Databases from which a server is looked after: nobody means them where he did not write their name.
MAINTENANCE = ("postgres", "template0", "template1")


def restore_into(settings: Settings, order: Order, uri: str, show: Show = fetch.no_progress) -> Restored:
    """Restore into the database at `uri`, or at that of the entry PATH of Vault where it is `vault:PATH`.

    Raise UsageError if it is not empty, StepError if it cannot take the backup or pg_restore fails,
    CheckError if the backup is damaged. Assertions that do not hold are for the caller to raise.
    """
    with access.restoring(settings) as databases, _bucket(databases) as bucket:
        if uri.startswith(VAULT):
            uri = _kept_uri(databases, uri.removeprefix(VAULT))
        place = target.at(uri)
        if not place.database:
            raise UsageError(
                "--into: has no database name",
                hint="write postgresql://ROLE@HOST:PORT/NAME",
            )
        proven = _chosen(databases, bucket, order)
        with place.opened() as connection:
            _require_fit(connection, order, proven, place)
        with work_folder(settings) as folder:
            job = Restoration(databases, bucket, proven, order, folder, show)
            fetched = job.fetch()
            with place.opened() as connection:
                made = job.make_roles(connection, fetched, place)
            return job.restore(fetched, place, made, new=False)


def restore_into_new(settings: Settings, order: Order, name: str, show: Show = fetch.no_progress) -> Restored:
    """Restore into a new database of the [drill] server; as `restore_into`. What fails is removed again."""
    with access.restoring(settings) as databases, _bucket(databases) as bucket:
        proven = _chosen(databases, bucket, order)
        server = server_for(databases, proven, order.table)
        with work_folder(settings) as folder:
            job = Restoration(databases, bucket, proven, order, folder, show)
            job.require_fit(server, name)
            return job.into_new(server, name, job.fetch())


def server_for(databases: Access, proven: Manifest, table: str | None = None) -> Target:
    """Return the server of [drill], with its second login, a superuser, where its first may not restore this.

    Raise StepError if neither may.
    """
    server = target.at(databases.drill_uri())
    lacks = rights.of_new(server, proven, table)
    if not lacks:
        return server
    drill = databases.settings.require_drill()
    if drill.superuser_secret is None:
        raise rights.refused(
            server.name,
            lacks,
            "or put the URI of a superuser of that server into Vault, and its path into "
            "luigi.cfg: [drill] superuser_secret",
        )
    second = target.at(databases.drill_uri(superuser=True))
    with second.opened() as connection:
        if not roles.is_superuser(connection):
            raise UsageError(
                f"{second.name}: its login {second.login}, from [drill] superuser_secret, is not a superuser",
                hint="name a superuser's",
            )
    return second


def _chosen(databases: Access, bucket: Bucket, order: Order) -> Manifest:
    return choice.choose(bucket, databases.settings, order.database, order.run, unsigned=order.unsigned)


def _bucket(databases: Access) -> Bucket:
    return databases.bucket(databases.settings.require_restore().secret)


def _kept_uri(databases: Access, path: str) -> str:
    uri = databases.vault.read(path).get("uri", "")
    if not uri.startswith(("postgresql://", "postgres://")):
        raise UnreachableError(
            f"Vault: {path} has no uri",
            hint="write uri=postgresql://USER:PASSWORD@HOST:PORT/NAME",
        )
    database = target.at(uri).database
    if not database or database in MAINTENANCE:
        named = f"{database}, which belongs to the server itself" if database else "no database"
        raise UsageError(
            f"--into {VAULT}{path}: its uri names {named}",
            hint="put the database to restore into at the end of that uri, or write --into-new NAME "
            "for a new one on the server of [drill]",
        )
    return uri


def work_folder(settings: Settings) -> contextlib.AbstractContextManager[Path]:
    """Return a folder in which a backup may lie in plain: private, and gone afterwards."""
    parent = settings.require_backup().work_dir / RESTORES
    try:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{parent}: cannot be created: {error.strerror}",
            hint="fix [backup] work_dir",
        ) from error
    return temporary.folder(parent, RESTORE)


def _require_fit(connection: Connection, order: Order, proven: Manifest, place: Target) -> None:
    """Refuse, before anything is downloaded, what cannot end well."""
    restoration.require_able(connection, order, proven, place)
    if lacks := rights.of_existing(connection, proven, order.table):
        raise rights.refused(place.name, lacks, "or restore with a superuser of that server")
    encoding = contents.database(connection).encoding
    if encoding != proven.contents.database.encoding:
        raise UsageError(
            f"{place.name}: its encoding is {encoding}, and the backup's is "
            f"{proven.contents.database.encoding}",
            hint="create a database with the backup's encoding",
        )
    if order.clean:
        return
    if order.table:
        target.require_no_table(connection, order.table, place.name)
    else:
        target.require_empty(connection, place.name)
