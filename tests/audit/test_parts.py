"""A large table is looked at in parts, one each night: all of its rows, and by sums where it has a key."""

import pytest

from pipeline import access
from pipeline.audit import audit, proofs, rotation
from pipeline.audit.audit import Audited
from pipeline.audit.finding import Outcome
from tests.support.marks import in_depth
from tests.support.night import Night

ROWS = 600
DECLARED = "source: shop\ntables: {item: {%s}}\n"
FILLED = "INSERT INTO item SELECT {}, 'item ' || n FROM generate_series(1, 600) AS n"
# By what tells the rows apart: the table's first columns, and the values that they get.
KEYS = {
    "number": ("id bigint PRIMARY KEY, name text", "n * 1000"),
    "several": (
        "kind text, on_day date, name text, PRIMARY KEY (kind, on_day)",
        "chr(65 + n % 2 * 32) || n % 7, '2026-01-01'::date + n",
    ),
    "uuid": ("id uuid PRIMARY KEY, name text", "md5(n::text)::uuid"),
}
MANY = "SELECT row_number() OVER (), repeat(md5(random()::text), 5)"
# A night so short that the table does not fit into its tenth.
SHORT = """
    INSERT INTO ops.run (run, name, state, started_at, finished_at, host, pid)
    VALUES ('2020-01-01', 'etl', 'done', now() - interval '0.2 s', now(), 'here', 1)
"""


@pytest.fixture(autouse=True)
def enough_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """No look is given up, however slow the machine: these nights are made up."""
    monkeypatch.setattr(rotation, "most_seconds", lambda *_: 60.0)


def shop(night: Night, kind: str = "number", declared: str = "") -> Night:
    columns, values = KEYS[kind]
    script = f"CREATE TABLE item ({columns}); {FILLED.format(values)}"
    night.platform.source("shop", script, DECLARED % declared)
    night.load("shop", "item")
    night.ask("warehouse", SHORT)
    return night


def look(night: Night) -> Audited:
    """Look at the part whose turn it is."""
    with (
        access.opened(night.settings) as databases,
        audit.auditor(databases, [night.table("shop", "item")]) as auditor,
    ):
        return next(auditor.night(0.1, lambda: 0.0)[1])


def round_of(night: Night) -> list[Audited]:
    """Look at all parts, from the first to the last, or to one that differs: that is begun anew."""
    seen = [look(night)]
    while not seen[-1].part.last and not seen[-1].differs:
        seen.append(look(night))
    assert seen[0].part.number == 1
    return seen


def until_it_differs(night: Night) -> Audited:
    """Look at one part after the other, and return the first that differs."""
    seen = look(night)
    while seen.finding and seen.finding.result == Outcome.EQUAL and not seen.part.last:
        seen = look(night)
    assert seen.finding
    assert seen.finding.result == Outcome.DIFFERS
    return seen


def compared(seen: list[Audited]) -> int:
    return sum(one.finding.rows for one in seen if one.finding)


@pytest.mark.parametrize("kind", KEYS)
def test_all_parts_together_are_every_row_once_and_each_is_compared_by_sums(night: Night, kind: str) -> None:
    shop(night, kind)
    seen = round_of(night)
    assert len(seen) > 1
    assert all(one.part.by_key for one in seen)
    assert [one.finding.result for one in seen if one.finding] == [Outcome.EQUAL] * len(seen)
    assert compared(seen) == ROWS
    # So small a table is looked through for where its parts end, and not a sample of it.
    assert [one.finding.rows for one in seen[:-1] if one.finding] == [
        ROWS // one.part.of for one in seen[:-1]
    ]
    assert (seen[-1].proved, seen[0].proved) == (True, False)


def test_a_row_changed_by_hand_is_found_in_its_part_with_its_key(night: Night) -> None:
    shop(night)
    night.ask("warehouse", "UPDATE shop.item SET name = 'by hand' WHERE id = 350000")
    seen = until_it_differs(night)
    assert str(seen.finding) == "differs: 1 row is different"
    assert seen.part.number > 1
    kept = night.ask("warehouse", "SELECT difference, key FROM quarantine.audit")
    assert kept == [("altered", {"id": 350000})]
    assert look(night).part.number == 1, "what differed is begun anew"


def test_a_row_added_by_hand_is_found_in_its_part(night: Night) -> None:
    shop(night)
    night.ask("warehouse", "INSERT INTO shop.item (id, _loaded_at) VALUES (350001, now())")
    seen = until_it_differs(night)
    assert str(seen.finding) == "differs: 1 row more than the load left"
    assert seen.part.number > 1
    kept = night.ask("warehouse", "SELECT difference, key FROM quarantine.audit")
    assert kept == [("surplus, or deleted since", {"id": 350001})]


def test_what_the_source_does_between_the_parts_is_no_fault(night: Night) -> None:
    shop(night)
    assert look(night).part.number == 1
    night.ask("shop", "UPDATE item SET name = 'new' WHERE id % 50000 = 0")
    night.ask("shop", "INSERT INTO item VALUES (150001, 'new'), (999999, 'new')")
    night.ask("shop", "DELETE FROM item WHERE id IN (100000, 333000, 599000)")
    night.ask("shop", "UPDATE item SET id = 500500 WHERE id = 200000")
    seen = [look(night)]
    while not seen[-1].part.last:
        seen.append(look(night))
    assert [str(one.finding) for one in seen if one.finding and one.finding.result != Outcome.EQUAL] == []
    assert sum(one.finding.newer for one in seen if one.finding) > 0


def test_the_ledger_keeps_no_key_but_that_at_which_the_next_part_begins(night: Night) -> None:
    shop(night)
    kept = "SELECT part, after_key FROM ops.audit WHERE after_key IS NOT NULL"
    first = look(night)
    assert night.ask("warehouse", kept) == [(1, list(first.part.after))]
    while not look(night).part.last:
        assert len(night.ask("warehouse", kept)) == 1
    assert night.ask("warehouse", kept) == []


def test_parts_by_another_key_are_begun_anew(night: Night) -> None:
    shop(night, declared="key: [id]")
    assert look(night).part.number == 1
    night.ask("warehouse", "UPDATE ops.audit SET storage = 'by \"other\" bigint'")
    assert look(night).part.number == 1


def test_without_a_key_a_part_is_compared_row_by_row(night: Night) -> None:
    night.platform.source("shop", "CREATE TABLE item (name text)", DECLARED % "changes: full")
    night.ask("shop", "INSERT INTO item SELECT repeat('x', 900) || n FROM generate_series(1, 600) AS n")
    night.load("shop", "item")
    night.ask("warehouse", SHORT)
    seen = round_of(night)
    assert len(seen) > 1
    assert not any(one.part.by_sums for one in seen)
    assert compared(seen) == ROWS


def test_texts_that_another_encoding_orders_otherwise_are_not_cut_by(night: Night) -> None:
    """In WIN1252 a euro comes before an accent, in UTF8 after it: a part would have other rows there."""
    columns = "(name text PRIMARY KEY, more text)"
    night.platform.source("shop", f"CREATE TABLE item {columns}", DECLARED % "", encoding="WIN1252")
    night.ask(
        "shop",
        "INSERT INTO item SELECT CASE n % 2 WHEN 0 THEN '€' ELSE 'é' END || n, repeat('x', 900)"
        " FROM generate_series(1, 600) AS n",
    )
    night.load("shop", "item")
    night.ask("warehouse", SHORT)
    seen = round_of(night)
    assert len(seen) > 1
    assert [str(one.finding) for one in seen if one.finding and one.finding.result != Outcome.EQUAL] == []
    assert compared(seen) == ROWS


@in_depth("key", ["PRIMARY KEY", ""], quick=1)
def test_a_look_that_takes_longer_than_its_night_is_given_up_and_done_in_smaller_parts(
    night: Night, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """Nothing is said of a table whose look was given up: it is as it was, and gone on with another night."""
    script = f"CREATE TABLE item (id int {key}, name text); {FILLED.format('n')}, generate_series(1, 200)"
    night.platform.source("shop", script.replace("SELECT n, 'item ' || n", MANY), DECLARED % "")
    night.load("shop", "item")
    # So that half of what all of it is thought to take has room.
    monkeypatch.setattr(rotation, "for_looking", lambda *_: 0.8)
    first = look(night)
    assert (first.part.number, first.finding and first.finding.result) == (1, Outcome.EQUAL)
    with night.warehouse() as warehouse:
        before = proofs.read(warehouse)["shop.item"]
    for times in (1, 2):
        with monkeypatch.context() as patched:
            # Fewer rows than the part has are compared in a thousandth of a second.
            patched.setattr(rotation, "most_seconds", lambda *_: 0.001)
            put_off = look(night)
        assert put_off.finding
        assert (put_off.finding.result, put_off.proved) == (Outcome.STOPPED, False), put_off.finding
        with night.warehouse() as warehouse:
            now = proofs.read(warehouse)["shop.item"]
        assert (now.result, now.reason, now.looked_at) == (Outcome.EQUAL, "", before.looked_at)
        assert now.stopped == times
        assert before.following
        assert now.following == before.following.smaller(times)
    seen = [look(night)]
    while not seen[-1].part.last:
        seen.append(look(night))
    assert [one.finding.result for one in seen if one.finding] == [Outcome.EQUAL] * len(seen)
    assert compared([first, *seen]) == ROWS * 200
    assert night.ask("warehouse", "SELECT * FROM ops.audit_stopped") == []
