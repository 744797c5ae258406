"""Masks: what is personal never leaves the source, and what was loaded before is forgotten."""

import hashlib
import hmac

import pytest

from pipeline import access, mask, postgres
from pipeline.errors import UnreachableError
from tests.support.night import Night

KEY = "a key for the hashes of this test, long enough"
PEOPLE = """
    CREATE TABLE person (
        id int PRIMARY KEY, national_id text NOT NULL, salary numeric, notes text, born date);
    CREATE TABLE payment (id int PRIMARY KEY, payer text, amount numeric);
    INSERT INTO person
    SELECT n, 'SECRET-' || n, 1000 + n, 'HUSH ' || n, '1980-01-01' FROM generate_series(1, 50) n;
    INSERT INTO payment SELECT n, 'SECRET-' || (n % 50 + 1), n FROM generate_series(1, 60) n;
    INSERT INTO payment VALUES (99, NULL, 1);
"""
MASKED = """
source: shop
tables:
  person:
    columns:
      national_id: {mask: hash}
      salary: {mask: null}
      notes: {mask: exclude}
  payment:
    columns: {payer: {mask: hash}}
"""
OPEN = "source: shop\ntables: {person: {}, payment: {}}\n"


@pytest.fixture
def night_with_key(night: Night) -> Night:
    night.platform.sandbox.vault.write("mask", {"key": KEY})
    night.platform.source("shop", PEOPLE, MASKED)
    return night


def everywhere(night: Night, needle: str) -> list[str]:
    """Return the tables of the warehouse in which a text is found, staging and ledger included."""
    with night.warehouse() as warehouse:
        tables = postgres.rows(
            warehouse,
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')",
        )
        return [
            name
            for (name,) in tables
            if postgres.value(warehouse, f"SELECT count(*) FROM {name} t WHERE t::text LIKE '%{needle}%'")
        ]


def test_masked_values_are_nowhere_in_the_warehouse_also_while_staged(night_with_key: Night) -> None:
    night = night_with_key
    run = "2031-01-01"
    night.extract("shop", run, "person", "payment")
    assert not everywhere(night, "SECRET-")
    assert not everywhere(night, "HUSH")
    for name in ("person", "payment"):
        night.publish("shop", run, name)
    assert not everywhere(night, "SECRET-")
    assert night.value("warehouse", "SELECT count(*) FROM shop.person WHERE salary IS NULL") == 50
    assert not everywhere(night, KEY)


def test_a_hash_is_hmac_sha256_and_joins_across_tables_and_runs(night_with_key: Night) -> None:
    night = night_with_key
    for name in ("person", "payment"):
        night.load("shop", name)
    expected = hmac.new(KEY.encode(), b"SECRET-7", hashlib.sha256).hexdigest()
    assert night.value("warehouse", "SELECT national_id FROM shop.person WHERE id = 7") == expected
    joined = "SELECT count(*) FROM shop.payment JOIN shop.person ON payer = national_id"
    assert night.value("warehouse", joined) == 60
    assert night.value("warehouse", "SELECT count(*) FROM shop.payment WHERE payer IS NULL") == 1
    assert not night.load("shop", "person").changed


def test_the_key_is_in_the_session_of_a_source_for_its_transaction_alone(night_with_key: Night) -> None:
    """A pooler gives the session to others afterwards."""
    settings = "SELECT count(*) FROM unnest(%s) AS name WHERE length(current_setting(name, true)) > 0"
    halves = ([mask.INNER, mask.OUTER],)
    with access.opened(night_with_key.settings) as databases, databases.source("shop") as session:
        mask.unlock(session, databases.mask_key())
        assert postgres.value(session, settings, halves) == 2
        session.commit()
        assert postgres.value(session, settings, halves) == 0


def test_a_mask_that_is_declared_later_forgets_what_was_loaded_before(night_with_key: Night) -> None:
    """Values that were loaded in the open stay in no table, no history and no quarantine."""
    night = night_with_key
    night.platform.declare("shop", OPEN.replace("person: {}", "person: {history: true}"))
    night.load("shop", "person")
    assert everywhere(night, "SECRET-")
    night.platform.declare("shop", MASKED.replace("  person:\n", "  person:\n    history: true\n"))
    night.load("shop", "person")
    assert not everywhere(night, "SECRET-")
    assert not everywhere(night, "HUSH")


def test_a_hashed_key_still_finds_what_was_deleted(night_with_key: Night) -> None:
    night = night_with_key
    night.platform.declare(
        "shop", "source: shop\ntables: {person: {key: [national_id], columns: {national_id: {mask: hash}}}}\n"
    )
    night.load("shop", "person")
    night.ask("shop", "DELETE FROM person WHERE id <= 5")
    night.ask("shop", "UPDATE person SET salary = 0 WHERE id = 6")
    loaded = night.load("shop", "person")
    assert (loaded.updated, loaded.deleted, loaded.total) == (1, 5, 45)


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"key": "short"}, "has a key of 5 characters"),
        ({"kee": KEY}, 'has no "key"; it has kee; write the key'),
    ],
)
def test_without_a_good_key_nothing_is_read(night_with_key: Night, entry: dict[str, str], told: str) -> None:
    night_with_key.platform.sandbox.vault.write("mask", entry)
    with pytest.raises(UnreachableError, match=told):
        night_with_key.load("shop", "person")
    assert not everywhere(night_with_key, "SECRET-")
