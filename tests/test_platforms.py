"""The fixtures that other tests stand on."""

import psycopg2
import pytest
from psycopg2 import errors

from pipeline import settings
from tests.support.platforms import Platform


@pytest.fixture(params=["first", "second"])
def again(request: pytest.FixtureRequest) -> object:
    """Makes a test run twice."""
    return request.param


@pytest.mark.usefixtures("again")
def test_each_test_has_an_empty_warehouse_and_sources_of_its_own(platform: Platform) -> None:
    platform.source("shop", "CREATE TABLE item (id int PRIMARY KEY); INSERT INTO item VALUES (1)")
    read = settings.read([platform.settings_file])
    assert list(read.sources) == ["shop"]
    with platform.connect("shop", platform.reader("shop")) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM item")
        assert cursor.fetchone() == (1,)
        with pytest.raises(errors.InsufficientPrivilege):
            cursor.execute("INSERT INTO item VALUES (2)")
    with platform.connect("warehouse") as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE mine (n int)")


def test_the_reader_of_one_source_cannot_enter_another(platform: Platform) -> None:
    platform.source("shop")
    platform.source("other")
    with pytest.raises(psycopg2.OperationalError, match="permission denied"):
        platform.connect("other", platform.reader("shop")).__enter__()
