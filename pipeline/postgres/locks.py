"""Advisory locks of a server: by a name, or a number that is ours, for as long as a transaction or a session.

In pg_locks, and in statements that look for their holder, a name is `hashtextextended(name, 0)`.
"""

from pipeline.postgres.statements import Connection, rows, value

# So long a process that was stopped in the middle of a transaction keeps others waiting.
STOPPED_SECONDS = 120

# Of a lock: a name, or a number where that was given once and for all.
Key = str | int


def take(connection: Connection, key: Key) -> None:
    """Wait for a lock, as long as lock_timeout says, and hold it until the transaction ends."""
    _ask(connection, "pg_advisory_xact_lock", key)


def take_within(connection: Connection, key: Key, seconds: float) -> None:
    """Wait for a lock for so long, hold it until the transaction ends, and wait for others without a limit.

    Raise LockNotAvailable if another has it for longer.
    """
    rows(
        connection,
        f"""
        SELECT set_config('lock_timeout', %s, true);
        SELECT pg_advisory_xact_lock({_number(key)});
        SET LOCAL lock_timeout = 0
        """,
        (f"{seconds:g}s", key),
    )


def give_back_when_stopped(connection: Connection) -> None:
    """Have the server end this transaction, and its session, once nothing is asked in it for two minutes.

    For what others wait for, and what is done statement by statement: a process that is stopped then, or its
    machine, would keep them waiting for ever.
    """
    rows(connection, f"SET LOCAL idle_in_transaction_session_timeout = '{STOPPED_SECONDS}s'")


def try_take(connection: Connection, key: Key) -> bool:
    """Hold a lock until the transaction ends, or return False if another has it."""
    return bool(_ask(connection, "pg_try_advisory_xact_lock", key))


def try_hold(connection: Connection, key: Key) -> bool:
    """Hold a lock until `release` or the session's end, or return False if another has it."""
    return bool(_ask(connection, "pg_try_advisory_lock", key))


def release(connection: Connection, key: Key) -> None:
    """Give back what `try_hold` took."""
    _ask(connection, "pg_advisory_unlock", key)


def share(connection: Connection, key: Key) -> None:
    """Hold a lock together with others until `release_share` or the session's end."""
    _ask(connection, "pg_advisory_lock_shared", key)


def release_share(connection: Connection, key: Key) -> None:
    """Give back what `share` took."""
    _ask(connection, "pg_advisory_unlock_shared", key)


def _ask(connection: Connection, function: str, key: Key) -> object:
    return value(connection, f"SELECT {function}({_number(key)})", (key,))


def _number(key: Key) -> str:
    """Return what stands for a key in a statement."""
    return "%s" if isinstance(key, int) else "hashtextextended(%s, 0)"
