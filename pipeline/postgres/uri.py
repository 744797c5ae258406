"""The URI of a database: as the driver takes it, and as PostgreSQL's own programs do."""

from collections.abc import Mapping
from typing import Any

import psycopg2
import psycopg2.extensions

from pipeline.errors import Outage, UnreachableError
from pipeline.postgres.failures import message_of

# A peer that vanished without a word is noticed after about two minutes: by keepalives while we wait for it,
# by the time-out (in milliseconds) while it owes us an answer to what we sent, when there are no keepalives.
KEEPALIVES: Mapping[str, Any] = {
    "keepalives_idle": 60,
    "keepalives_interval": 15,
    "keepalives_count": 4,
    "tcp_user_timeout": 120_000,
}
# What a URI says, as libpq's programs read it from their environment.
VARIABLES: Mapping[str, str] = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "dbname": "PGDATABASE",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "passfile": "PGPASSFILE",
    "options": "PGOPTIONS",
    "application_name": "PGAPPNAME",
    "sslmode": "PGSSLMODE",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcrl": "PGSSLCRL",
    "sslsni": "PGSSLSNI",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
    "gssencmode": "PGGSSENCMODE",
    "channel_binding": "PGCHANNELBINDING",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}


def program_environment(uri: str, name: str) -> dict[str, str]:
    """Return the variables that take one of PostgreSQL's programs to `uri`: for that one child's environment.

    Raise UnreachableError if there is something in it that cannot be said so.
    """
    parts = _parts(uri, name)
    for part in parts.keys() - VARIABLES.keys() - KEEPALIVES.keys():
        raise UnreachableError(
            f"{name}: its uri in Vault has {part}, which cannot be passed on",
            hint="remove it",
            outage=Outage(name),
        )
    return {VARIABLES[part]: value for part, value in parts.items() if part in VARIABLES}


def address(uri: str, name: str) -> tuple[str, str]:
    """Return host and port of a URI, several of them joined by commas as they are there.

    Raise UnreachableError if it is not a valid URI.

    >>> address("postgresql://role:password@db:5433/hr", "hr"), address("postgresql://db/hr", "hr")
    (('db', '5433'), ('db', '5432'))
    """
    parts = _parts(uri, name)
    return parts.get("host") or parts.get("hostaddr", ""), parts.get("port", "5432")


def with_options(environment: Mapping[str, str], options: str) -> dict[str, str]:
    """Return the environment of one of PostgreSQL's programs with more said in PGOPTIONS, which counts."""
    joined = " ".join(part for part in (environment.get("PGOPTIONS"), options) if part)
    return {**environment, **({"PGOPTIONS": joined} if joined else {})}


def _parts(uri: str, name: str) -> dict[str, str]:
    try:
        parts: dict[str, str] = psycopg2.extensions.parse_dsn(plain(uri, name))
    except psycopg2.Error as error:
        fact = f"{name}: its uri in Vault is not valid: {message_of(error)}"
        raise UnreachableError(fact, outage=Outage(name)) from None
    return parts


def plain(uri: str, name: str) -> str:
    """Return the URI as libpq takes it. Raise UnreachableError if it is none."""
    # SQLAlchemy's form of the scheme is common in shared credentials; libpq knows only the plain one.
    scheme, _, rest = uri.partition("://")
    if scheme.split("+")[0] not in ("postgresql", "postgres") or not rest:
        raise UnreachableError(
            f"{name}: its uri in Vault is not of the form postgresql://role:password@host:port/name",
            outage=Outage(name),
        )
    return f"postgresql://{rest}"
