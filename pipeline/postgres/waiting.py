"""Who has what we wait for: pid, role and since when, and never what he asked the server."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pipeline.postgres.statements import Connection, read, statement

UNKNOWN = "its start is visible only to members of pg_read_all_stats"
# Somebody was there, and is not any more.
GONE_AGAIN = "a table lock that was released just now"


def legible(describe: Callable[[], str]) -> str:
    """Return what tells of somebody, also where the name of a role is not UTF-8: all databases share it.

    >>> legible(lambda: b"j\\xf6rg".decode())
    'a role whose name is not UTF-8'
    """
    try:
        return describe()
    except UnicodeDecodeError:
        return "a role whose name is not UTF-8"


def waits_for(connection: Connection, pids: Sequence[int]) -> str:
    """Return whom these sessions of the same server wait for; nothing if they do not wait for anybody."""
    return legible(lambda: _waits_for(connection, pids))


def _waits_for(connection: Connection, pids: Sequence[int]) -> str:
    holders = read(connection, statement("postgres/waits_for"), _Holder, (list(pids),))
    if not holders:
        return ""
    table = next((one.table_name for one in holders if one.table_name), None)
    who = "; ".join(process(one.pid, one.role, one.since) for one in holders)
    return f"{table}, which is locked by {who}" if table else who


@dataclass(frozen=True)
class _Holder:
    """A session that is in the way of another, and the table that it has, if it is a table."""

    table_name: str | None
    pid: int | None
    role: str | None
    since: datetime | None


def keeper(connection: Connection, tables: Iterable[int]) -> str:
    """Return which of these tables, by their oids, somebody has or wants for himself alone, and who."""

    def describe() -> str:
        keepers = read(connection, statement("postgres/blockers"), kept, (list(tables),))
        return keepers[0] if keepers else GONE_AGAIN

    return legible(describe)


def kept(table_name: str, pid: int | None, role: str | None, since: datetime | None) -> str:
    """Return who has a table, for people.

    >>> kept("public.entry", None, None, None)
    'public.entry, which a prepared transaction has locked exclusively'
    """
    return f"{table_name}, which {process(pid, role, since)} has locked exclusively"


def process(pid: int | None, role: str | None, since: datetime | None) -> str:
    """Return a server's session, for people; `since` is when its transaction began.

    >>> process(12, "vendor", datetime(2026, 11, 22, 2, 15))
    'process 12 (vendor, since 2026-11-22 02:15:00 UTC)'
    >>> process(12, "vendor", None)
    'process 12 (vendor; its start is visible only to members of pg_read_all_stats)'
    """
    if pid is None:
        return "a prepared transaction"
    begun = f", since {since:%Y-%m-%d %H:%M:%S} UTC" if since else f"; {UNKNOWN}"
    return f"process {pid} ({role or 'of an unknown role'}{begun})"
