"""What a login lacks to restore a backup on a server: asked before anything is downloaded."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipeline import postgres
from pipeline.backup.database import contents
from pipeline.backup.restoring import roles, target
from pipeline.backup.restoring.target import Target
from pipeline.backup.store.manifest import Contents, Manifest
from pipeline.errors import StepError
from pipeline.postgres import Connection

SHOWN = 8
# Since then a role may be a member that may not act as the role.
FIRST_WITH_SET = 160000


def lacking(
    connection: Connection, proven: Manifest, *, there: Collection[str], makes: bool, table: str | None
) -> tuple[str, ...]:
    """Return what our login lacks to restore a backup, each with what would give it; nothing if it may.

    `there` are the extensions that the database has already, `makes` says that it is a new one. Of one
    `table` alone only its owner counts.
    """
    if roles.is_superuser(connection):
        return ()
    login = str(postgres.value(connection, "SELECT quote_ident(current_user)"))
    lines = _attributes(connection, proven, login, makes=makes)
    lines += _foreign(connection, _acting(proven.contents, table), login)
    if table is None:
        what = [f"{one.kind} {one.name}" for one in proven.contents.needs]
        what += [f"extension {name}" for name in _untrusted(connection, proven, there)]
        if what:
            more = f" and {len(what) - SHOWN} more" if len(what) > SHOWN else ""
            lines.append(f"only a superuser may create {', '.join(what[:SHOWN])}{more}")
    return tuple(lines)


@dataclass(frozen=True)
class _Role:
    """Our login, by its attributes in pg_roles, and which roles there are."""

    rolcreatedb: bool
    rolcreaterole: bool
    known: Sequence[str]


def _attributes(connection: Connection, proven: Manifest, login: str, *, makes: bool) -> list[str]:
    query = """
        SELECT rolcreatedb, rolcreaterole, ARRAY(SELECT rolname::text FROM pg_roles) AS known
        FROM pg_roles WHERE rolname = current_user
        """
    (role,) = postgres.read(connection, query, _Role)
    lines = []
    if makes and not role.rolcreatedb:
        lines.append(f"it may not create a database: ALTER ROLE {login} CREATEDB")
    missing = sorted(set(proven.contents.roles) - set(role.known))
    if missing and not role.rolcreaterole:
        lines.append(f"it may not create the roles {', '.join(missing)}: ALTER ROLE {login} CREATEROLE")
    return lines


def _acting(wanted: Contents, table: str | None) -> set[str]:
    """Return the roles that our login must act as: owners, and such as passed a privilege on."""
    owners = {one.owner for one in wanted.tables if one.full_name == table}
    if owners:
        return owners
    return {one.owner for one in wanted.objects} | {wanted.database.owner} | set(wanted.grantors)


class _Foreign(NamedTuple):
    """A role, its name as it is written in SQL."""

    name: str
    is_super: bool


def _foreign(connection: Connection, names: Collection[str], login: str) -> list[str]:
    """Say for which of these roles, as far as they are there, our login may not act."""
    mode = "SET" if connection.server_version >= FIRST_WITH_SET else "MEMBER"
    query = """
        SELECT quote_ident(rolname) AS name, rolsuper AS is_super FROM pg_roles
        WHERE rolname = ANY(%s) AND rolname !~ '^pg_' AND NOT pg_has_role(current_user, oid, %s)
        ORDER BY rolname
        """
    roles = postgres.read(connection, query, _Foreign, (list(names), mode))
    plain = ", ".join(role.name for role in roles if not role.is_super)
    powerful = ", ".join(role.name for role in roles if role.is_super)
    lines = []
    if plain:
        lines.append(
            f"it is not a member of {plain}, which own or granted something: GRANT {plain} TO {login}"
        )
    if powerful:
        lines.append(f"only a superuser may act for {powerful}, which own or granted something")
    return lines


def _untrusted(connection: Connection, proven: Manifest, there: Collection[str]) -> list[str]:
    wanted = [one.name for one in proven.contents.extensions if one.name not in there]
    query = """
        SELECT e.name FROM pg_available_extensions AS e
        JOIN pg_available_extension_versions AS v ON v.name = e.name AND v.version = e.default_version
        WHERE e.name = ANY(%s) AND v.superuser AND NOT v.trusted
        ORDER BY e.name
        """
    return [str(name) for (name,) in postgres.rows(connection, query, (wanted,))]


def of_new(server: Target, proven: Manifest, table: str | None) -> tuple[str, ...]:
    """Return what the login of a server lacks to restore into a new database there."""
    with server.opened() as connection:
        template = target.template(connection, proven.contents.database)
        there: list[str] = []
        if template != target.EMPTY and not roles.is_superuser(connection):
            with server.on(template).opened() as inside:
                there = [one.name for one in contents.extensions(inside)]
        return lacking(connection, proven, there=there, makes=True, table=table)


def of_existing(connection: Connection, proven: Manifest, table: str | None) -> tuple[str, ...]:
    """Return what our login lacks to restore into the database that `connection` is to."""
    there = [one.name for one in contents.extensions(connection)]
    return lacking(connection, proven, there=there, makes=False, table=table)


def refused(name: str, lacks: Collection[str], way_out: str) -> StepError:
    """Return the error that says all of what a login lacks, before anything was downloaded."""
    return StepError(f"{name}: its login may not restore this backup: {'; '.join(lacks)}", hint=way_out)


def lesser(connection: Connection, other: Target) -> str | None:
    """Return the login of `other`, unless that is to another server than `connection`, or the same login."""
    query = "SELECT system_identifier, current_user::text FROM pg_control_system()"
    here, login = postgres.rows(connection, query)[0]
    with other.opened() as opened:
        there, name = postgres.rows(opened, query)[0]
    return None if there != here or name == login else str(name)
