"""Who has what we wait for: pid, role and since when, and never what he asked the server."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from pipeline.postgres.statements import Connection, row, rows, statement

UNKNOWN = "since when is shown to members of pg_read_all_stats alone"
# Somebody was there, and is not any more.
GONE_AGAIN = "a table that somebody kept locked until just now"


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
    found = rows(connection, statement("postgres/waits_for"), (list(pids),))
    if not found:
        return ""
    table = next((what for what, *_ in found if what), None)
    who = "; ".join(process(*holder) for _, *holder in found)
    return f"{table}, which is kept by {who}" if table else who


def keeper(connection: Connection, tables: Iterable[int]) -> str:
    """Return which of these tables, by their oids, somebody has or wants for himself alone, and who."""

    def describe() -> str:
        found = row(connection, statement("postgres/blockers"), (list(tables),))
        return kept(*found) if found else GONE_AGAIN

    return legible(describe)


def kept(table: str, pid: int | None, role: str | None, since: datetime | None) -> str:
    """Return who has a table, for people.

    >>> kept("public.entry", None, None, None)
    'public.entry, which a prepared transaction has locked exclusively'
    """
    return f"{table}, which {process(pid, role, since)} has locked exclusively"


def process(pid: int | None, role: str | None, since: datetime | None) -> str:
    """Return a server's session, for people; `since` is when its transaction began.

    >>> process(12, "vendor", datetime(2026, 11, 22, 2, 15))
    'process 12 (vendor, since 2026-11-22 02:15:00 UTC)'
    >>> process(12, "vendor", None)
    'process 12 (vendor; since when is shown to members of pg_read_all_stats alone)'
    """
    if pid is None:
        return "a prepared transaction"
    begun = f", since {since:%Y-%m-%d %H:%M:%S} UTC" if since else f"; {UNKNOWN}"
    return f"process {pid} ({role or 'of an unknown role'}{begun})"
