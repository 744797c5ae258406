"""The warehouse as Metabase sees it: the connection, who may ask what, its columns, and what they mean."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote, urlsplit

from pipeline.errors import CheckError, StepError
from pipeline.ledger.surface import Kept, Memory
from pipeline.metabase import Client, versions
from pipeline.step import Record

KEY = "database"
NAME = "Warehouse"
ENGINE = "postgres"
DEFAULT_PORT = 5432
# A first look at the warehouse's tables takes seconds; of a large one minutes.
SYNC_SECONDS = 120.0
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Remembered(Record):
    """What is remembered of the connection: the version of its login in Vault, and the columns it has synced.

    None where that is not known yet.
    """

    version: str | None = None
    # A digest of all that it may read.
    columns: str | None = None

    @classmethod
    def of_kept(cls, known: Kept | None) -> "Remembered":
        """Return what is remembered with a connection of ours; nothing where there is none."""
        return (cls.from_json(known.detail) if known else None) or cls()


def details(uri: str) -> dict[str, Any]:
    """Return what Metabase is to connect with, from a postgresql:// URI; its options are not passed on.

    >>> details("postgresql://metabase:secret@db/warehouse")["port"]
    5432
    """
    parts = urlsplit(uri)
    mode = dict(pair.partition("=")[::2] for pair in parts.query.split("&")).get("sslmode", "")
    parameters = {
        "host": parts.hostname or "localhost",
        "port": parts.port or DEFAULT_PORT,
        "dbname": unquote(parts.path.lstrip("/")),
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "ssl": mode not in ("", "disable", "prefer", "allow"),
        # What there is to see is said by the login's own rights.
        "schema-filters-type": "all",
        "tunnel-enabled": False,
        "advanced-options": False,
    }
    return parameters | ({"ssl-mode": mode} if parameters["ssl"] else {})


def without_password(actual: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return of a connection's details what can be compared: those that we ask for, but for the password."""
    return {key: actual.get(key) for key in wanted if key != "password"}


class Database:
    """The connection, and the columns that Metabase knows of it."""

    def __init__(self, client: Client, memory: Memory, number: int) -> None:
        self.client, self.memory, self.number = client, memory, number
        self._tables: list[Mapping[str, Any]] | None = None

    def clear_cache(self) -> None:
        """Ask for the tables anew the next time."""
        self._tables = None

    @property
    def tables(self) -> list[Mapping[str, Any]]:
        """Return the tables that Metabase knows, each with its fields."""
        if self._tables is None:
            metadata = self.client.get(f"/api/database/{self.number}/metadata", include_hidden=True)
            self._tables = list(metadata.get("tables") or ())
        return self._tables

    def column(self, relation: str, name: str) -> tuple[int, str] | None:
        """Return number and base type of a column; None if Metabase does not know it (yet)."""
        for table in self.tables:
            if f"{table.get('schema')}.{table.get('name')}" == relation:
                for one in table.get("fields") or ():
                    if one["name"] == name:
                        return int(one["id"]), str(one.get("base_type"))
        return None

    def sync(self) -> None:
        """Have it look at the tables again, beside whatever else it does."""
        self.client.post(f"/api/database/{self.number}/sync_schema", {})
        self._tables = None

    def missing(self, needed: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return which of these columns, or (without a name) relations, it does not know."""
        known = {f"{table.get('schema')}.{table.get('name')}" for table in self.tables}
        return [
            (relation, name)
            for relation, name in needed
            if relation not in known or (name and self.column(relation, name) is None)
        ]

    def wait_for(self, needed: Sequence[tuple[str, str]], seconds: float = SYNC_SECONDS) -> None:
        """Return once it knows what is needed. Raise CheckError if it does not come to know it."""
        ends_at = time.monotonic() + seconds
        while missing := self.missing(needed):
            if time.monotonic() > ends_at:
                listed = ", ".join(f"{relation}.{name}".rstrip(".") for relation, name in missing)
                raise CheckError(
                    f"Metabase does not know {listed} after a sync of {seconds:g} s",
                    hint="check that the login of dashboards may read it, then Metabase's own log",
                )
            time.sleep(POLL_SECONDS)
            self._tables = None


def differences(client: Client, known: Kept | None, uri: str, version: str) -> list[str]:
    """Return what is to be changed of the connection: nothing, or what of it is not as it should be."""
    if known is None or known.number is None:
        return ["will be created"]
    live = client.find(f"/api/database/{known.number}")
    if live is None or _marker(live) != known.marker:
        return ["no longer exists"]
    changed = ["password"] if Remembered.of_kept(known).version != version else []
    return [*_wrong(live, _body(uri)), *changed]


def _body(uri: str) -> dict[str, Any]:
    return {"name": NAME, "engine": ENGINE, "details": details(uri), "auto_run_queries": True}


def _wrong(live: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """Return what of a connection is not as we ask for; the password comes back masked."""
    expected, actual = without_password(asked["details"], asked["details"]), live.get("details") or {}
    parts = [key for key, value in asked.items() if key != "details" and live.get(key) != value]
    return [*(key for key, value in expected.items() if actual.get(key) != value), *parts]


def keep(client: Client, memory: Memory, uri: str, version: str) -> Database:
    """Make the connection, or give it what of it has changed. It is tried by Metabase before it is taken."""
    known = memory.find(KEY)
    body = _body(uri)
    if differences(client, known, uri, version):
        live = _there(client, known)
        if live is None:
            intended = memory.intend(Kept(KEY, KEY, NAME))
            made = {**body, "name": f"{NAME} {intended.nonce}"}
            live = client.post("/api/database", made)
        number = int(live["id"])
        client.put(f"/api/database/{number}", body)
        live = client.get(f"/api/database/{number}")
        if wrong := _wrong(live, body):
            raise StepError(
                f"Metabase did not store the connection's {', '.join(wrong)}",
                hint="see its own log; this version may expect another format: report it to the "
                "maintainers of this program",
            )
        # The password comes back masked, so which one it has is remembered.
        now = replace(Remembered.of_kept(known), version=version)
        memory.save(Kept(KEY, KEY, NAME, number=number, marker=_marker(live), detail=now.to_json()))
        return Database(client, memory, number)
    assert known is not None  # noqa: S101 - it has no difference
    assert known.number is not None  # noqa: S101 - as above
    return Database(client, memory, known.number)


def _there(client: Client, known: Kept | None) -> Mapping[str, Any] | None:
    """Return the connection that is ours, also where we were killed right after it was made."""
    if known is None:
        return None
    if known.number is not None:
        live: Mapping[str, Any] | None = client.find(f"/api/database/{known.number}")
        return live if live is not None and _marker(live) == known.marker else None
    databases = versions.listed(client.get("/api/database"))
    return next((one for one in databases if one.get("name") == f"{NAME} {known.nonce}"), None)


def _marker(live: Mapping[str, Any]) -> str:
    return str(live.get("created_at"))
