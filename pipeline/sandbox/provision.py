"""Roles, grants and credentials: made once, fixed when something is missing or a port has changed.

Passwords are made here, go to the server as a SCRAM verifier, and are written into Vault alone.
"""

import secrets
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import psycopg2.extensions

from pipeline import mask, names, redact
from pipeline.errors import StepError, UsageError
from pipeline.sandbox import roles
from pipeline.sandbox.home import Home
from pipeline.sandbox.ports import ADDRESS
from pipeline.sandbox.servers import clusters, vault_server
from pipeline.sandbox.servers.vault_server import Administrator
from pipeline.scheduler import visualizer
from pipeline.system import atomic

SOURCES, WAREHOUSE, DRILL = "sources", "warehouse", "drill"
DRILL_SUPERUSER = "drill_superuser"
# The entry of the logins to the scheduler.
SCHEDULER = "scheduler"
# The logins to Vault, each with the policy in the file of its name.
PIPELINE, RESTORE = "pipeline", "restore"
# This source's credentials are made by Vault for each step alone; those of the others are stored.
DYNAMIC = "service_desk"
CREATION = [
    """CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}' IN ROLE """
    f"pipeline_{DYNAMIC}"
]
REVOCATION = ['DROP ROLE IF EXISTS "{{name}}"']
LOGIN_TTL = "1h"
LEASE_TTL, LEASE_MAX_TTL = "4h", "24h"


def platform(home: Home) -> None:
    """Set up the warehouse, the drill server, the alerts and the scheduler's logins; Vault is set up."""
    vault = vault_server.administrator(home)
    with clusters.connection(home, WAREHOUSE, "postgres") as connection:
        warehouse(home, connection, "warehouse", "warehouse")
    with clusters.connection(home, DRILL, "postgres") as connection:
        roles.login(home, vault, connection, DRILL, "drill", "drill", "postgres", ["CREATEDB", "CREATEROLE"])
        # A restore gives objects to roles that it made, and to some of them what they had: reading all data.
        roles.execute(connection, "ALTER ROLE drill SET createrole_self_grant = 'set, inherit'")
        roles.execute(connection, "GRANT pg_read_all_data TO drill WITH ADMIN OPTION")
        roles.execute(connection, "REVOKE {} FROM drill", clusters.SUPERUSER)  # sandboxes of before gave it
        # The second login, for what only a superuser restores: what is added to the sandbox belongs to one.
        roles.login(
            home, vault, connection, DRILL, DRILL_SUPERUSER, DRILL_SUPERUSER, "postgres", ["SUPERUSER"]
        )
    with clusters.connection(home, DRILL, "template1") as connection:
        # What only a superuser may make is put where every new database begins.
        roles.execute(connection, "CREATE EXTENSION IF NOT EXISTS amcheck")
        for function in ("bt_index_check(regclass)", "bt_index_check(regclass, boolean)"):
            roles.execute(connection, f"GRANT EXECUTE ON FUNCTION {function} TO drill")
    key = (vault.read("alerts") or {}).get("hmac_key") or secrets.token_urlsafe(32)
    url = f"http://{ADDRESS}:{home.state.ports['webhooks']}/"
    vault.write("alerts", {"url": url, "hmac_key": key})
    # Made once: with another key every hash becomes another.
    if mask.KEY not in (vault.read(mask.SECRET) or {}):
        vault.write(mask.SECRET, {mask.KEY: secrets.token_urlsafe(mask.MINIMUM_KEY_LENGTH)})
    known = vault.read(SCHEDULER) or {}
    vault.write(
        SCHEDULER, {login: known.get(login) or secrets.token_urlsafe(24) for login in visualizer.LOGINS}
    )


def warehouse(
    home: Home, connection: psycopg2.extensions.connection, database: str, entry: str, role: str = "pipeline"
) -> None:
    """Make an empty warehouse, owned by the pipeline's role, which has no other privilege.

    And its groups, which that role could make only if it were allowed to make any role.
    """
    vault = vault_server.administrator(home)
    roles.login(home, vault, connection, WAREHOUSE, entry, role, database, [])
    if not database_exists(connection, database):
        roles.execute(connection, f"CREATE DATABASE {{}} OWNER {{}} {clusters.COPIED}", database, role)
    roles.execute(connection, "REVOKE ALL ON DATABASE {} FROM PUBLIC", database)
    for group in _groups(database):
        roles.ensure(connection, group, ["NOLOGIN"])
    analyst = f"{database}_analyst"
    roles.execute(connection, "GRANT {} TO {}", analyst, role)
    login = _mart_login(database)
    roles.login(home, vault, connection, WAREHOUSE, f"{entry}/analyst", login, database, [])
    roles.execute(connection, "GRANT {} TO {}", analyst, login)
    login = _dashboards_login(database)
    roles.login(home, vault, connection, WAREHOUSE, f"{entry}/dashboards", login, database, [])
    roles.execute(connection, "GRANT {} TO {}", f"{database}_dashboards", login)


def _groups(database: str) -> list[str]:
    return [f"{database}_{group}" for group in ("loader", "analyst", "dashboards")]


def _mart_login(database: str) -> str:
    """Return the login that runs the analysts' SQL."""
    return f"{database}_marts"


def _dashboards_login(database: str) -> str:
    """Return the login that reads what dashboards show."""
    return f"{database}_reports"


def remove_warehouse(
    home: Home, connection: psycopg2.extensions.connection, database: str, role: str
) -> None:
    """Remove a warehouse whose Vault entry is called as its database is, with its role."""
    roles.execute(connection, "DROP DATABASE IF EXISTS {} WITH (FORCE)", database)
    for name in (role, _mart_login(database), _dashboards_login(database), *_groups(database)):
        roles.execute(connection, "DROP ROLE IF EXISTS {}", name)
    vault = vault_server.administrator(home)
    vault.remove(f"{database}/analyst")
    vault.remove(f"{database}/dashboards")
    vault.remove(database)


def source(home: Home, name: str) -> None:
    """Let the pipeline read the source database `name`, and back it up."""
    vault = vault_server.administrator(home)
    with clusters.connection(home, SOURCES, "postgres") as connection:
        reader, backup = f"pipeline_{name}", f"backup_{name}"
        ensure_owner(connection, name)
        if name == DYNAMIC:
            roles.ensure(connection, reader, ["NOLOGIN"])
        else:
            roles.login(home, vault, connection, SOURCES, f"source/{name}", reader, name, [])
        roles.login(home, vault, connection, SOURCES, f"database/{name}", backup, name, [])
        roles.execute(connection, "GRANT pg_read_all_data TO {}", backup)
        roles.execute(connection, "REVOKE ALL ON DATABASE {} FROM PUBLIC", name)
        roles.execute(connection, "GRANT CONNECT ON DATABASE {} TO {}, {}", name, reader, backup)
    with clusters.connection(home, SOURCES, name) as connection:
        _grant_reading(connection, reader, [clusters.SUPERUSER, owner(name)])
    if name == DYNAMIC:
        _let_vault_make_readers(home, vault, name)


def remove_source(home: Home, name: str) -> None:
    """Remove a source database with its roles and credentials, as far as they are there."""
    vault = vault_server.administrator(home)
    with clusters.connection(home, SOURCES, "postgres") as connection:
        roles.execute(connection, "DROP DATABASE IF EXISTS {} WITH (FORCE)", name)
        for role in (f"pipeline_{name}", f"backup_{name}", owner(name)):
            roles.execute(connection, "DROP ROLE IF EXISTS {}", role)
    vault.remove(f"source/{name}")
    vault.remove(f"database/{name}")


def place(home: Home, name: str) -> tuple[str, str]:
    """Return the cluster and the database that is meant by `name`. Raise UsageError if there is none."""
    if name in home.state.databases:
        return SOURCES, name
    known = {WAREHOUSE: (WAREHOUSE, "warehouse"), DRILL: (DRILL, "postgres")}
    if name not in known:
        raise UsageError(f"{name}: no such database; {names.advice(name, [*home.state.databases, *known])}")
    return known[name]


def password(home: Home, login: str) -> str:
    """Return the password of one of the logins to the scheduler. Raise UsageError if there is none."""
    entry = vault_server.administrator(home).read(SCHEDULER) or {}
    if login not in visualizer.LOGINS or login not in entry:
        raise UsageError(f"{login}: no such login; {names.advice(login, visualizer.LOGINS)}")
    return entry[login]


def owner(name: str) -> str:
    """Return the role that owns the source database `name`."""
    return f"{name}_owner"


def ensure_owner(connection: psycopg2.extensions.connection, name: str) -> None:
    """Make the role that owns the source database `name`."""
    roles.ensure(connection, owner(name), ["NOLOGIN"])


def database_exists(connection: psycopg2.extensions.connection, name: str) -> bool:
    """Return whether the cluster has a database of that name."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM pg_database WHERE datname = %s", (name,))
        return cursor.rowcount > 0


def _grant_reading(connection: psycopg2.extensions.connection, reader: str, makers: Sequence[str]) -> None:
    """Let `reader` read all tables there are, and those that `makers` will make."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
        )
        schemas = [schema for (schema,) in cursor.fetchall()]
    for schema in schemas:
        roles.execute(connection, "GRANT USAGE ON SCHEMA {} TO {}", schema, reader)
        roles.execute(connection, "GRANT SELECT ON ALL TABLES IN SCHEMA {} TO {}", schema, reader)
    for maker in makers:
        for privilege in ("SELECT ON TABLES", "USAGE ON SCHEMAS"):
            roles.execute(
                connection, f"ALTER DEFAULT PRIVILEGES FOR ROLE {{}} GRANT {privilege} TO {{}}", maker, reader
            )


def set_up_vault(home: Home) -> None:
    """Make Vault's engines, and the login of the pipeline with its policy."""
    vault = vault_server.administrator(home)
    mounts = vault.call("GET", "sys/mounts")["data"]
    if "secret/" not in mounts:
        vault.call("POST", "sys/mounts/secret", {"type": "kv", "options": {"version": "2"}})
    if "database/" not in mounts:
        vault.call("POST", "sys/mounts/database", {"type": "database"})
    if "transit/" not in mounts:
        vault.call("POST", "sys/mounts/transit", {"type": "transit"})
    if "approle/" not in vault.call("GET", "sys/auth")["data"]:
        vault.call("POST", "sys/auth/approle", {"type": "approle"})
    for login in (PIPELINE, RESTORE):
        _app_role(home, vault, login)


def _app_role(home: Home, vault: Administrator, login: str) -> None:
    policy = resources.files("pipeline.sandbox").joinpath(f"{login}.hcl").read_text()
    vault.call("PUT", f"sys/policies/acl/{login}", {"policy": policy})
    vault.call("POST", f"auth/approle/role/{login}", {"token_policies": [login], "token_ttl": LOGIN_TTL})
    file = secret_id_file(home, login)
    if not file.exists() or not _logs_in(vault, role_id(home, login), file.read_text()):
        secret_id = vault.call("POST", f"auth/approle/role/{login}/secret-id")["data"]["secret_id"]
        redact.register(secret_id)
        atomic.write(file, secret_id)


def secret_id_file(home: Home, login: str = PIPELINE) -> Path:
    """Return the file with the second half of a login to Vault."""
    return home.vault_keys / ("secret-id" if login == PIPELINE else f"{login}-secret-id")


def role_id(home: Home, login: str = PIPELINE) -> str:
    """Return the name that the pipeline, or a restore, logs in to Vault with; it is not a credential."""
    answer = vault_server.administrator(home).call("GET", f"auth/approle/role/{login}/role-id")
    return str(answer["data"]["role_id"])


def _logs_in(vault: Administrator, role: str, secret_id: str) -> bool:
    try:
        vault.call("POST", "auth/approle/login", {"role_id": role, "secret_id": secret_id})
    except StepError:
        return False
    return True


def _let_vault_make_readers(home: Home, vault: Administrator, name: str) -> None:
    """Configure Vault's database engine to make a role for each step that asks, and to drop it afterwards."""
    maker, reader = f"vault_{name}", f"pipeline_{name}"
    password = secrets.token_urlsafe(24)
    redact.register(password)
    with clusters.connection(home, SOURCES, name) as connection:
        roles.ensure(connection, maker, ["LOGIN", "CREATEROLE"])
        roles.set_password(connection, maker, password)
        roles.execute(connection, "GRANT CONNECT ON DATABASE {} TO {}", name, maker)
        roles.execute(connection, "GRANT {} TO {} WITH ADMIN OPTION", reader, maker)
    server = f"{ADDRESS}:{home.state.ports[SOURCES]}/{name}"
    connecting = {
        "plugin_name": "postgresql-database-plugin",
        "connection_url": f"postgresql://{{{{username}}}}:{{{{password}}}}@{server}?sslmode=disable",
        "username": maker,
        "password": password,
        "allowed_roles": [reader],
        "password_authentication": "scram-sha-256",
    }
    vault.call("POST", f"database/config/{name}", connecting)
    role = {"db_name": name, "creation_statements": CREATION, "revocation_statements": REVOCATION}
    vault.call(
        "POST", f"database/roles/{reader}", {**role, "default_ttl": LEASE_TTL, "max_ttl": LEASE_MAX_TTL}
    )
