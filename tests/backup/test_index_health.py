"""What is wrong with one index of a restored database is told, whatever cannot be checked of another."""

from collections.abc import Iterator

import pytest

from pipeline import postgres
from pipeline.backup.database import assertions, index_health
from pipeline.backup.drills import report
from pipeline.backup.drills.report import Grade
from tests.support.platforms import Connection, Platform

# The index in the middle computes with a function that finds another one by the search path: where there is
# none, as in our sessions and by itself from PostgreSQL 17 on, that fails, but while the table is empty.
INDEXED = """
CREATE TABLE item (name text);
CREATE FUNCTION lowered(name text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN lower(name); END';
CREATE FUNCTION sought(name text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$
    BEGIN
        IF current_setting('test.ends', true) = 'here' THEN
            PERFORM pg_terminate_backend(pg_backend_pid());
        END IF;
        RETURN lowered(name);
    END $$;
CREATE INDEX a_in_order ON item (name);
CREATE INDEX b_computed ON item (sought(name));
CREATE INDEX c_complete ON item (name);
INSERT INTO item SELECT 'Item ' || n FROM generate_series(1, 100) AS n;
"""
# Not one page is touched: it is in another order than its definition says from then on.
DISORDERED = "UPDATE pg_index SET indoption = '1' WHERE indexrelid = 'public.{}'::regclass"
READY = "UPDATE pg_index SET indisready = {} WHERE indexrelid = 'public.c_complete'::regclass"
NOT_COMPARED = "public.b_computed is in order, but was not compared with its table: function lowered(text)"


@pytest.fixture
def shop(platform: Platform) -> Iterator[Connection]:
    """A session like ours in a database with these indexes."""
    platform.source("shop", INDEXED)
    with platform.connect("shop") as connection:
        postgres.rows(connection, "SET search_path = pg_catalog")
        yield connection


def amcheck(connection: Connection) -> tuple[bool | None, str, Grade]:
    """Return what is said of the indexes, and how a drill with no other sentence would end."""
    sentences = tuple(assertions.indexes(connection))
    (judged,) = (one for one in sentences if one.name == "amcheck")
    return judged.held, judged.detail, report.grade(sentences, (), in_time=True, error=None)


def test_an_index_that_cannot_be_evaluated_hides_no_damage_of_another(shop: Connection) -> None:
    """That of those before it was thrown away, those after it were not looked at, and the drill held."""
    postgres.rows(shop, DISORDERED.format("a_in_order"))
    postgres.rows(shop, READY.format(False))
    postgres.rows(shop, "SET search_path = public")
    postgres.rows(shop, "INSERT INTO item VALUES ('not in c_complete')")
    postgres.rows(shop, "SET search_path = pg_catalog")
    postgres.rows(shop, READY.format(True))
    health = index_health.check(shop)
    first, second = health.broken
    assert first.startswith('public.a_in_order: item order invariant violated for index "a_in_order"')
    assert second.startswith("public.c_complete: heap tuple")
    (unchecked,) = health.unchecked
    assert unchecked.startswith(NOT_COMPARED)
    held, detail, grade = amcheck(shop)
    assert (held, grade) == (False, Grade.F)
    assert detail.startswith(first)
    assert NOT_COMPARED in detail


def test_an_index_that_cannot_be_evaluated_is_named_until_its_function_has_a_search_path(
    shop: Connection,
) -> None:
    held, detail, grade = amcheck(shop)
    assert (held, grade) == (None, Grade.B)
    assert detail.startswith(f"2 B-trees in order, with every row in them; {NOT_COMPARED}")
    assert detail.endswith(
        "; in the source, ALTER FUNCTION ... SET search_path for the functions that it calls"
    )
    postgres.rows(shop, "ALTER FUNCTION public.sought SET search_path = public")
    assert amcheck(shop) == (True, "3 B-trees in order, with every row in them", Grade.A)


def test_the_order_of_an_index_is_checked_even_if_it_cannot_be_evaluated(shop: Connection) -> None:
    postgres.rows(shop, DISORDERED.format("b_computed"))
    held, detail, grade = amcheck(shop)
    assert (held, grade) == (False, Grade.F)
    assert detail.startswith('public.b_computed: item order invariant violated for index "b_computed"')


def test_a_login_that_may_not_use_amcheck_is_told_what_it_lacks(platform: Platform, shop: Connection) -> None:
    postgres.rows(shop, DISORDERED.format("a_in_order"))
    as_reader = f'SET ROLE "{platform.reader("shop")}"'
    postgres.rows(shop, as_reader)
    held, detail, grade = amcheck(shop)
    assert (held, grade) == (None, Grade.B)
    assert detail.startswith("not checked: amcheck cannot be used: permission denied")
    assert detail.endswith("; CREATE EXTENSION amcheck there as a superuser")
    postgres.rows(shop, "RESET ROLE")
    assert amcheck(shop)[0] is False
    assert postgres.value(shop, "SELECT count(*) FROM pg_extension WHERE extname = 'amcheck'") == 0
    postgres.rows(shop, "CREATE EXTENSION amcheck SCHEMA public")
    postgres.rows(shop, as_reader)
    held, detail, grade = amcheck(shop)
    assert (held, grade) == (None, Grade.B)
    assert 'GRANT EXECUTE ON FUNCTION "public"."bt_index_check"(regclass, boolean)' in detail
    postgres.rows(shop, "RESET ROLE")
    granted = "GRANT EXECUTE ON FUNCTION public.bt_index_check(regclass, boolean)"
    postgres.rows(shop, f'{granted} TO "{platform.reader("shop")}"')
    postgres.rows(shop, as_reader)
    assert amcheck(shop)[0] is False


def test_a_connection_that_is_lost_on_the_way_is_no_index_that_cannot_be_evaluated(shop: Connection) -> None:
    postgres.rows(shop, "SET test.ends = 'here'")
    with pytest.raises(postgres.Error) as caught:
        index_health.check(shop)
    assert postgres.is_lost(caught.value)
