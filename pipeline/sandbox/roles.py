"""Roles of the sandbox's servers: made once, with passwords that are made here and kept in Vault alone."""

import secrets
from collections.abc import Sequence
from urllib.parse import urlsplit

import psycopg2.extensions
from psycopg2 import sql

from pipeline import redact
from pipeline.sandbox.home import Home
from pipeline.sandbox.ports import ADDRESS
from pipeline.sandbox.servers.vault_server import Administrator


def execute(connection: psycopg2.extensions.connection, statement: str, *names: str) -> None:
    """Run a statement whose `{}` are these names."""
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def ensure(connection: psycopg2.extensions.connection, role: str, attributes: Sequence[str]) -> None:
    """Make a role with these attributes, or give them to the one there is; without any it may log in."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,))
        verb = "ALTER" if cursor.rowcount else "CREATE"
    execute(connection, f"{verb} ROLE {{}} {' '.join(attributes) or 'LOGIN'}", role)


def login(
    home: Home,
    vault: Administrator,
    connection: psycopg2.extensions.connection,
    cluster: str,
    entry: str,
    role: str,
    database: str,
    attributes: Sequence[str],
) -> None:
    """Make a role that logs in with a password, and the Vault entry with its URI; an old password is kept."""
    stored = (vault.read(entry) or {}).get("uri", "")
    password = urlsplit(stored).password or secrets.token_urlsafe(24)
    redact.register(password)
    ensure(connection, role, ["LOGIN", *attributes])
    set_password(connection, role, password)
    uri = f"postgresql://{role}:{password}@{ADDRESS}:{home.state.ports[cluster]}/{database}"
    vault.write(entry, {"uri": uri})


def set_password(connection: psycopg2.extensions.connection, role: str, password: str) -> None:
    """Set a password, of which the server gets the verifier alone."""
    verifier = psycopg2.extensions.encrypt_password(password, role, connection, "scram-sha-256")
    with connection.cursor() as cursor:
        cursor.execute(
            sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(verifier))
        )
