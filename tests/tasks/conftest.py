"""A small source that the tests of whole runs share the form of."""

import pytest

from tests.support.night import Night

SHOP = """
    CREATE TABLE customer (id int PRIMARY KEY, name text NOT NULL);
    INSERT INTO customer SELECT n, 'customer ' || n FROM generate_series(1, 500) AS n;
    CREATE TABLE purchase (
        customer_id int, number int, paid numeric(10, 2), PRIMARY KEY (customer_id, number)
    );
    INSERT INTO purchase SELECT 1 + n % 500, n, n / 7.0 FROM generate_series(1, 3000) AS n;
    CREATE TABLE event (what text, at timestamptz);
    INSERT INTO event SELECT 'event ' || n % 40, '2026-11-20'::timestamptz FROM generate_series(1, 400) AS n;
"""
DECLARATION = "source: shop\ntables: {customer: {}, purchase: {}, event: {changes: full}}\n"
CHANGES = """
    UPDATE customer SET name = 'changed' WHERE id <= 10;
    DELETE FROM purchase WHERE number <= 20;
    INSERT INTO purchase SELECT n, 10000 + n, 1 FROM generate_series(1, 30) AS n;
    DELETE FROM event WHERE ctid = (SELECT min(ctid) FROM event);
    INSERT INTO event VALUES ('new', NULL);
"""


@pytest.fixture
def shop(night: Night) -> Night:
    """A night with one small source of three tables: by one key, by a composite one, and without any."""
    night.platform.source("shop", SHOP, DECLARATION)
    return night
