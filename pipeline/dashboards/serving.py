"""Metabase itself, where it is a job of ours: its own database is looked at, and then the process becomes it.

Metabase knows its database's password from its environment or from properties of its Java, and from nothing
else (its config file is not of the open-source edition). The environment of a process is shown by `ps e` and
copied into all that it starts; so it is told by properties, and Java reads these from a file in memory that
has no name, and not from its command line.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlencode

import psycopg2.extensions

from pipeline import access, ledger, postgres
from pipeline.access import Access
from pipeline.errors import StepError, UnreachableError, UsageError
from pipeline.redact import register
from pipeline.settings import DatabaseSettings, Settings

NAME = "Metabase's own database"
URI, KEY = "uri", "encryption_key"
# With less than that Metabase does not start.
KEY_CHARACTERS = 16
# Where it listens: this machine alone, for it speaks no TLS by itself. What people open is a proxy before it.
HOST, PORT = "127.0.0.1", 3000
# What of a database's URI the driver of Java takes as well.
TAKEN_OVER = ("sslmode", "sslrootcert")
# What changes nothing of where that leads and how safe it is; Java's driver has its own.
LEFT_OUT = (
    "application_name",
    "fallback_application_name",
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
)
NEEDED = ("host", "user", "password", "dbname")
FORM = "write postgresql://role:password@host:port/name, with no more than ?sslmode=...&sslrootcert=FILE"
DEFAULT_PORT = "5432"
# Java keeps what it was told in a file below /tmp for other programs of the same user, and in a report after
# a crash: neither is wanted.
QUIET = ("-XX:-UsePerfData", "-XX:ErrorFile=/dev/null")
MEMORY = ("-Xmx1g",)
# As Metabase's own documents have it.
OPENED = ("--add-opens=java.base/java.nio=ALL-UNNAMED",)
KEPT = ("PATH", "HOME", "TMPDIR")


def prepare(settings: Settings) -> str:
    """Look whether Metabase's own database is what it needs, and nobody else's. Return its encoding.

    Raise StepError if it is not; UnreachableError if it or Vault refuses our login.
    """
    with access.opened(settings) as databases:
        uri, key = _entry(databases)
        secret = _secret(settings)
        # What our driver takes, Java's may not.
        properties(uri, key)
        with postgres.connection(uri, NAME, entry=secret) as connection:
            state = postgres.records(connection, postgres.statement("dashboards/metabase_database"))[0]
            is_warehouse = ledger.is_there(connection)
    problems = []
    if state["encoding"] != postgres.ENCODING:
        problems.append(f"its encoding is {state['encoding']}: create it again in {postgres.ENCODING}")
    if is_warehouse:
        problems.append("it is the warehouse: create another one for Metabase, and write its uri there")
    elif state["others"] and not state["is_metabase"]:
        problems.append(
            f"it has {state['others']} tables that are not Metabase's: create one for Metabase alone"
        )
    if not state["may_create"]:
        problems.append(f"its role may not create tables: {state['statement']}")
    if problems:
        raise StepError(f"{NAME} (the entry {secret} of Vault): {'; '.join(problems)}", retryable=False)
    return str(state["encoding"])


def become(settings: Settings, jar: Path) -> None:
    """Let this process become Metabase: it ends as that does, and is told to stop as that is.

    Raise UsageError without Java or the file; UnreachableError if Vault does not give what it needs.
    """
    java = shutil.which("java")
    if java is None:
        raise UsageError("java: not found", hint="install Java 21, or put it on the PATH")
    if not jar.is_file():
        raise UsageError(f"{jar}: not found", hint="download that release of Metabase")
    with access.opened(settings) as databases:
        given = {**properties(*_entry(databases)), "mb.plugins.dir": str(Path.home() / "plugins")}
    # The login is ended by now: what becomes of this process has none.
    descriptor = os.memfd_create("metabase")
    os.fchmod(descriptor, 0o600)
    os.write(descriptor, options(given).encode())
    os.set_inheritable(descriptor, True)
    arguments = [java, f"@/proc/self/fd/{descriptor}", "-jar", str(jar)]
    environment = {name: os.environ[name] for name in KEPT if name in os.environ}
    os.execve(java, arguments, environment)  # noqa: S606 - Metabase has no interface but that


def properties(uri: str, key: str) -> Mapping[str, str]:
    """Return what Metabase is told.

    Raise UnreachableError if the URI is faulty, UsageError if Java's driver would not take it as it is meant.

    >>> told = properties("postgresql://mb:s%3Acret@db:5433/metabase?sslmode=require", "0123456789abcdef")
    >>> told["mb.db.connection.uri"], told["mb.db.pass"]
    ('jdbc:postgresql://db:5433/metabase?sslmode=require', 's:cret')
    """
    try:
        parts = psycopg2.extensions.parse_dsn(postgres.plain(uri, NAME))
    except psycopg2.Error as error:
        raise UnreachableError(
            f"{NAME}: its uri in Vault is not valid: {postgres.message_of(error)}"
        ) from None
    if problems := _not_for_java(parts):
        raise UsageError(f"{NAME}: its uri in Vault has {' and '.join(problems)}", hint=FORM)
    host = parts["host"]
    address = f"[{host}]" if ":" in host else host
    more = urlencode({name: parts[name] for name in TAKEN_OVER if name in parts})
    place = f"{address}:{parts.get('port', DEFAULT_PORT)}/{quote(parts['dbname'], safe='')}"
    return {
        "mb.db.connection.uri": f"jdbc:postgresql://{place}" + (f"?{more}" if more else ""),
        "mb.db.user": parts["user"],
        "mb.db.pass": parts["password"],
        "mb.encryption.secret.key": key,
        "mb.jetty.host": HOST,
        "mb.jetty.port": str(PORT),
    }


def _not_for_java(parts: Mapping[str, str]) -> list[str]:
    """Return what of an address libpq alone takes, in words that go on from "it has"."""
    host, port = parts.get("host", ""), parts.get("port", DEFAULT_PORT)
    problems = [f"no {name}" for name in NEEDED if not parts.get(name)]
    # A name that begins with @ is one of Linux' own, without a file.
    if host.startswith(("/", "@")):
        problems.append("a socket folder as its host")
    elif "," in host or "," in port:
        problems.append("several hosts")
    elif not port.isdecimal():
        problems.append("a port that is not a number")
    if parts.get("sslrootcert") == "system":
        problems.append("sslrootcert=system, which Java's driver takes for a file name")
    if more := sorted(parts.keys() - {*NEEDED, "port", *TAKEN_OVER, *LEFT_OUT}):
        problems.append(f"{', '.join(more)}, which Java's driver does not support")
    return problems


def options(properties_of: Mapping[str, str]) -> str:
    r"""Return the file of options that Java reads: one a line, in quotes.

    >>> print(options({"a": 'b"c d\\e'}).splitlines()[-1])
    "-Da=b\"c d\\e"
    """
    words = [*QUIET, *MEMORY, *OPENED, *(f"-D{name}={value}" for name, value in properties_of.items())]
    return "".join(f"{_quoted(word)}\n" for word in words)


def _quoted(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'


def _secret(settings: Settings) -> str:
    secret = settings.require_metabase().database_secret
    if secret is None:
        raise UsageError(
            "[metabase] database_secret: missing in luigi.cfg, and needed for this",
            hint="write there the entry of Metabase's own database in Vault",
        )
    return secret


def _entry(databases: Access) -> tuple[str, str]:
    """Return the address of its database, and the key by which it keeps credentials in that."""
    secret = _secret(databases.settings)
    with databases.vault.database_uri(DatabaseSettings(secret=secret)) as uri:
        key = databases.vault.read(secret).get(KEY, "")
    if len(key) < KEY_CHARACTERS:
        fault = "is too short" if key else "is missing"
        raise UnreachableError(
            f"the entry {secret} in Vault: its {KEY} {fault}",
            hint="write the output of 'openssl rand -base64 32' there, once: without it Metabase "
            "loses the passwords that it stores",
        )
    register(key)
    return uri, key
