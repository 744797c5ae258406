"""What a host imposes on a session, that the session cannot change: who set it, and what would change it."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.postgres.statements import Connection, identifier, read, statement, value

# What only a superuser may set, and what we rely on: triggers and foreign keys work, and rows in damaged
# pages are an error instead of a gap.
SUPERUSERS: Mapping[str, str] = {
    "session_replication_role": "origin",
    "zero_damaged_pages": "off",
    "ignore_checksum_failure": "off",
}
# The limits that a session sets for itself; all are counted in milliseconds.
LIMITS = (
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "transaction_timeout",
)
UNLIMITED = (
    "ask the administrator of that server, or of the pooler before it, for sessions without that limit"
)
READ_ONLY = "default_transaction_read_only"


@dataclass(frozen=True)
class _Imposed:
    """A setting of this session, where it comes from (pg_settings.source), and whose session it is."""

    name: str
    setting: str
    source: str
    role: str
    database: str


def imposed(connection: Connection, relied_on: Mapping[str, str]) -> list[str]:
    """Return a line for each of these settings that is otherwise: role, setting, and what fixes it."""
    query = """
        SELECT name, setting, source, session_user::text AS role, current_database()::text AS database
        FROM pg_settings WHERE name = ANY(%s) ORDER BY name
        """
    return [
        f"sessions of its role {one.role} have {one.name} = {one.setting}; {_fix(connection, one)}"
        for one in read(connection, query, _Imposed, (list(relied_on),))
        if one.setting != relied_on[one.name]
    ]


def read_only(connection: Connection) -> str | None:
    """Return why nothing can be written through this connection, and what to do; None if it can."""
    if value(connection, "SELECT pg_is_in_recovery()"):
        return "it is a standby, which is read-only; name the primary in its entry in Vault"
    return next(iter(imposed(connection, {READ_ONLY: "off"})), None)


def _fix(connection: Connection, setting: _Imposed) -> str:
    """Return what takes a setting back, by where it comes from."""
    name = setting.name
    who = identifier(setting.role).as_string(connection)
    where = identifier(setting.database).as_string(connection)
    statements = {
        "user": f"ALTER ROLE {who} RESET {name}",
        "database user": f"ALTER ROLE {who} IN DATABASE {where} RESET {name}",
        "database": f"ALTER DATABASE {where} RESET {name}",
        "global": f"ALTER ROLE ALL RESET {name}",
        "client": f"remove {name} from the options of its uri in Vault",
    }
    if setting.source in statements:
        return statements[setting.source]
    return (
        "its server's configuration sets it (postgresql.conf): ask its administrator; it may be on "
        "purpose, for instance when a disk is full"
    )


def limits(connection: Connection, wanted: Mapping[str, str]) -> list[str]:
    """Return a line for each limit of this session that is shorter than was asked for, with its role.

    As where a pooler, or the host, keeps a session from what it sets; `wanted` is what it asked for.
    """
    asked = {name: wanted[name] for name in LIMITS if name in wanted}
    query, parameters = statement("postgres/limits"), (list(asked), list(asked.values()))
    return [
        f"its role {one.role} has {one.name} = {one.imposed}, though the session asked for {one.asked_for}"
        for one in read(connection, query, _Limit, parameters)
    ]


@dataclass(frozen=True)
class _Limit:
    """A limit of this session that is shorter than it asked for."""

    role: str
    name: str
    imposed: str
    asked_for: str
