"""What the analysts' own tasks may use of the platform: the warehouse, with an analyst's rights.

from pipeline import analysts

class Headcount(luigi.Task):
    date = luigi.DateParameter()

    def output(self):
        return analysts.written(self)

    def run(self):
        with analysts.writing(self) as connection, connection.cursor() as cursor:
            cursor.execute("INSERT INTO analyst.headcount SELECT %s, count(*) FROM hr.employee", [self.date])
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import psycopg2
import psycopg2.extensions

_ROLE = "SELECT pg_catalog.set_config('role', pg_catalog.current_database() || '_analyst', false)"
_MAKE = """
    CREATE TABLE IF NOT EXISTS analyst.task_done (
        task text PRIMARY KEY, at timestamptz NOT NULL DEFAULT pg_catalog.now())
    """
_MARK = (
    "INSERT INTO analyst.task_done (task) VALUES (%s) ON CONFLICT (task) DO UPDATE SET at = pg_catalog.now()"
)
_MARKED = "SELECT EXISTS (SELECT FROM analyst.task_done WHERE task = %s)"

_address: dict[str, Any] = {}


class Task(Protocol):
    """A task of Luigi's, as far as it is of interest here."""

    task_id: str


def hold(address: Mapping[str, Any]) -> None:
    """Keep where the warehouse is, for `connect`: what runs a task knows it."""
    _address.update(address)


@contextlib.contextmanager
def connect() -> Iterator[psycopg2.extensions.connection]:
    """Open the warehouse as an analyst; what was done is committed at the end, and undone after an error.

    Raise RuntimeError where the platform does not run this, as when a file is only looked at.
    """
    if not _address:
        raise RuntimeError(
            "the warehouse can be reached only while the platform runs a task, and not while its file is "
            "checked"
        )
    connection = psycopg2.connect(**_address)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(_ROLE)
        with connection:
            yield connection
    finally:
        connection.close()


@contextlib.contextmanager
def writing(task: Task) -> Iterator[psycopg2.extensions.connection]:
    """Open the warehouse; that the task is done is committed together with what it has written."""
    with connect() as connection:
        yield connection
        with connection.cursor() as cursor:
            cursor.execute(_MAKE)
            cursor.execute(_MARK, (task.task_id,))


class Written:
    """Is there once `writing` has ended well for the task: for its output()."""

    def __init__(self, task: Task) -> None:
        self._task = task.task_id

    def exists(self) -> bool:
        """Whether it has."""
        try:
            with connect() as connection, connection.cursor() as cursor:
                cursor.execute(_MARKED, (self._task,))
                (there,) = cursor.fetchone() or (False,)
                return bool(there)
        except psycopg2.errors.UndefinedTable:
            return False


def written(task: Task) -> Written:
    """Return what is there once `writing` has ended well for the task: for its output()."""
    return Written(task)
