"""Who is stopped, or whose machine is, in the middle of a transaction keeps nobody waiting for ever."""

from collections.abc import Callable

import pytest
from psycopg2 import sql

from pipeline import postgres
from pipeline.catalog import RelationKind
from pipeline.ledger.migrations import LOCK
from pipeline.postgres import Connection
from pipeline.postgres import locks as advisory
from pipeline.warehouse import locks, roles, types
from pipeline.warehouse.shape import Shape
from tests.support.night import Night

# Who is kept waiting all the same fails, and does not wait for ever.
PATIENCE = "SET lock_timeout = '20s'"
EMPTY = Shape(1, RelationKind.TABLE, (), ())


class StoppedHereError(Exception):
    """Stands for a signal that stops a process: what it had begun stays as it is."""


def stopped(*_: object) -> None:
    raise StoppedHereError


def make_types(connection: Connection) -> None:
    types.ensure_types(connection, "shop", EMPTY)


def keep_roles(connection: Connection) -> None:
    roles.keep(connection, LOCK)


@pytest.mark.parametrize(
    ("work", "where"),
    [(make_types, "pipeline.warehouse.types._has_schema"), (keep_roles, "pipeline.warehouse.roles.of")],
)
def test_what_is_made_for_all_tables_is_free_again_when_who_makes_it_is_stopped(
    night: Night, monkeypatch: pytest.MonkeyPatch, work: Callable[[Connection], None], where: str
) -> None:
    monkeypatch.setattr(advisory, "STOPPED_SECONDS", 1)
    with night.warehouse() as one, night.warehouse() as other:
        postgres.rows(other, PATIENCE)
        one.autocommit = other.autocommit = False
        with monkeypatch.context() as patched:
            patched.setattr(where, stopped)
            with pytest.raises(StoppedHereError):
                work(one)
        work(other)
        with pytest.raises(postgres.Error):
            postgres.rows(one, "SELECT 1")


def test_a_table_that_gets_its_new_rows_can_be_read_again_when_the_load_is_stopped(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(advisory, "STOPPED_SECONDS", 1)
    night.ask("warehouse", "CREATE TABLE public.shown (id int)")
    relation = sql.Identifier("public", "shown")
    with night.warehouse() as one, night.warehouse() as reader:
        postgres.rows(reader, PATIENCE)
        one.autocommit = False
        locks.patiently(one, relation, lambda: postgres.rows(one, "LOCK TABLE public.shown"))
        assert postgres.rows(reader, "SELECT * FROM public.shown") == []
        with pytest.raises(postgres.Error):
            postgres.rows(one, "SELECT 1")
