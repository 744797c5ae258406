"""Deletes found without a copy of every key: as by brute force, whatever the key is made of."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from psycopg2 import sql

from pipeline import postgres
from pipeline.loading.source import blocks, deletes
from tests.support.marks import in_depth
from tests.support.night import Night, counts, next_run

# By the kind of key: its columns, and what makes the keys of the numbers 0 to 999, each another.
KEYS: dict[str, tuple[str, str]] = {
    "integer": ("a int", "{n} - 300"),
    "bigint": ("a bigint", "{n} + 9223372036854774807"),
    "sparse": ("a bigint", "({n} - 500)::bigint * 9223372036854775"),
    "text": ("a text", "{n} % 7 || chr(8364) || ' \"(,' || {n}"),
    "char": ("a char(9)", "'x' || {n}"),
    "composite": ("a int, b text", "{n} % 30, {n} / 30 || ''"),
    "numeric": ("a numeric", "CASE {n} WHEN 1 THEN 'NaN'::numeric ELSE {n} / 8.00 END"),
    "float": ("a float8", "CASE {n} WHEN 1 THEN 'NaN' WHEN 2 THEN '-0' ELSE 1 / ({n} + 1)::float8 END"),
    "timestamp": ("a timestamptz", "'2026-03-29 00:00+00'::timestamptz + {n} * interval '7 min 0.000001 s'"),
    "uuid": ("a uuid", "md5({n}::text)::uuid"),
    "boolean": ("a int, b bool", "{n} / 2, {n} % 2 = 0"),
}


@pytest.fixture(autouse=True)
def tables_count_as_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "FEW_ROWS", 0)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows were read from the source to find what is gone, each time."""
    found: list[int] = []
    copy = postgres.copy

    def counted(*arguments: Any) -> int:
        rows = copy(*arguments)
        text = str(arguments[1])
        if "hashtextextended" in text or "bit_or" in text or "keys" in str(arguments[3]):
            found.append(rows)
        return rows

    monkeypatch.setattr("pipeline.postgres.copy", counted)
    return found


@pytest.fixture
def no_copy_of_every_key(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("every key is read")

    monkeypatch.setattr(deletes, "_by_every_key", refuse)


def make(night: Night, kind: str, rows: int, said: str = "") -> Callable[[str], str]:
    """Make a table with so many rows; return what inserts the rows of more numbers."""
    columns, value = KEYS[kind]
    names = ", ".join(part.split()[0] for part in columns.split(", "))
    insert = f"INSERT INTO item ({names}, n) SELECT {value.format(n='n')}, n FROM {{}} AS n"
    night.platform.source(
        "shop",
        f"CREATE TABLE item ({columns}, n int, note text, at timestamptz DEFAULT now(),"
        f" PRIMARY KEY ({names}));" + insert.format(f"generate_series(0, {rows - 1})"),
        f"source: shop\ntables: {{item: {{max_deleted: 100%, {said}}}}}\n",
    )
    night.load("shop", "item")
    return insert.format


def load(night: Night) -> tuple[str, tuple[int, int, int, int]]:
    run = next_run()
    loaded = night.load("shop", "item", run)
    return night.extraction(run, "shop.item")[0], counts(loaded)


@pytest.mark.usefixtures("no_copy_of_every_key")
@in_depth("kind", KEYS, quick=1)
def test_what_is_gone_is_found_as_by_brute_force(night: Night, kind: str) -> None:
    """Rows come, go, change and change places, many or few, in each of some nights."""
    insert = make(night, kind, 600)
    chance = random.Random(kind)  # noqa: S311 - the same rows each time
    there = set(range(600))
    for night_number in range(3):
        gone = set(chance.sample(sorted(there), chance.choice([1, 2, 30])))
        there -= gone
        new = set(chance.sample(sorted(set(range(1000)) - there), chance.choice([0, 1, len(gone)])))
        changed = chance.sample(sorted(there), 5)
        there |= new
        night.ask("shop", f"DELETE FROM item WHERE n = ANY (ARRAY{sorted(gone)})")
        if new:
            night.ask("shop", insert(f"unnest(ARRAY{sorted(new)})"))
        night.ask("shop", f"UPDATE item SET note = 'night {night_number}' WHERE n = ANY (ARRAY{changed})")
        mode, (inserted, _, deleted, total) = load(night)
        back = len(gone & new)
        assert (mode, inserted, deleted, total) == (
            "increment",
            len(new) - back,
            len(gone) - back,
            len(there),
        )
        assert night.differing("shop") == []


@pytest.mark.usefixtures("no_copy_of_every_key")
@in_depth(("kind", "most"), [("integer", 20), ("uuid", 400)], quick=1)
def test_few_keys_are_read_to_find_few_deletes(night: Night, kind: str, most: int, read: list[int]) -> None:
    make(night, kind, 1000)
    night.ask("shop", "DELETE FROM item WHERE n IN (17, 500)")
    assert load(night) == ("increment", (0, 0, 2, 998))
    assert sum(read) <= most
    assert night.differing("shop") == []


@pytest.mark.usefixtures("no_copy_of_every_key")
def test_a_key_that_has_moved_is_gone_from_where_it_was(night: Night) -> None:
    """As many rows as before, and another key; one that is written otherwise is the same key."""
    make(night, "numeric", 100)
    night.ask("shop", "UPDATE item SET a = 1000 WHERE n = 7")
    night.ask("shop", "UPDATE item SET a = 1.000000 WHERE n = 8")
    assert load(night) == ("increment", (1, 1, 1, 100))
    assert night.differing("shop") == []


@in_depth("kind", ["integer", "text"], quick=1)
def test_all_rows_may_be_gone(night: Night, kind: str) -> None:
    insert = make(night, kind, 100)
    night.ask("shop", "DELETE FROM item")
    assert load(night) == ("increment", (0, 0, 100, 0))
    night.ask("shop", insert("generate_series(5, 6)"))
    assert load(night) == ("increment", (2, 0, 0, 2))
    assert night.differing("shop") == []


@in_depth("kind", ["integer", "text"], quick=1)
def test_a_row_that_a_cursor_missed_is_found_beside_one_that_is_gone(night: Night, kind: str) -> None:
    """As many rows on both sides: no count tells, and every row is read."""
    insert = make(night, kind, 400, "changes: cursor, cursor: at")
    night.ask("shop", "DELETE FROM item WHERE n = 10")
    night.ask("shop", insert("generate_series(500, 500)"))
    night.ask("shop", "UPDATE item SET at = '2020-01-01' WHERE n = 500")
    assert load(night) == ("full", (1, 0, 1, 400))
    assert night.differing("shop") == []
    night.ask("shop", "DELETE FROM item WHERE n = 11")
    assert load(night) == ("increment", (0, 0, 1, 399))
    assert night.differing("shop") == []


@pytest.mark.usefixtures("no_copy_of_every_key")
@in_depth("kind", ["integer", "text"], quick=1)
def test_what_is_gone_is_marked_where_that_is_declared_also_under_a_new_name(night: Night, kind: str) -> None:
    insert = make(night, kind, 300, "deletes: soft, drift: {renamed: evolve}")
    night.ask("shop", "DELETE FROM item WHERE n IN (1, 2)")
    night.ask("shop", "ALTER TABLE item RENAME a TO b")
    assert load(night)[1][2:] == (2, 298)
    night.ask("shop", "ALTER TABLE item RENAME b TO a")
    night.ask("shop", insert("generate_series(2, 2)"))
    night.ask("shop", "DELETE FROM item WHERE n = 3")
    assert load(night)[1][2:] == (1, 298)
    assert night.value("warehouse", "SELECT count(*) FROM shop.item WHERE _deleted_at IS NOT NULL") == 2
    assert night.differing("shop") == []


@in_depth("kind", ["integer", "text"], quick=1)
def test_who_leaves_what_is_wanted_is_gone(night: Night, kind: str) -> None:
    make(night, kind, 300, "where: n < 250")
    night.ask("shop", "UPDATE item SET n = 999 WHERE n = 7")
    night.ask("shop", "DELETE FROM item WHERE n IN (8, 260)")
    assert load(night) == ("increment", (0, 0, 2, 248))
    present = "SELECT count(*) FROM shop.item WHERE n IN (7, 8)"
    assert night.value("warehouse", present) == 0


def test_what_does_not_add_up_is_found_by_every_key(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if two keys had met in one sum: the number of rows says that one is missing."""
    make(night, "text", 300)
    stage_gone = blocks.stage_gone

    def overlook_one(warehouse: Any, reading: Any, planned: Any, staged: Any, *more: Any) -> Any:
        found = stage_gone(warehouse, reading, planned, staged, *more)
        first = sql.SQL("DELETE FROM {0} WHERE ctid = (SELECT min(ctid) FROM {0})")
        postgres.rows(warehouse, first.format(staged.gone))
        return found

    monkeypatch.setattr(blocks, "stage_gone", overlook_one)
    night.ask("shop", "DELETE FROM item WHERE n IN (1, 2)")
    assert load(night) == ("increment", (0, 0, 2, 298))
    assert night.differing("shop") == []


@pytest.mark.endurance
def test_servers_that_hash_otherwise_cost_time_and_nothing_else(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No version must keep its hashes for what is found to be true."""
    make(night, "text", 300)
    seeds = iter(range(100))
    made = blocks._hash

    def another(key: Any) -> postgres.Composable:
        return sql.SQL("({} # {})").format(made(key), sql.Literal(next(seeds)))

    monkeypatch.setattr(blocks, "_hash", another)
    night.ask("shop", "DELETE FROM item WHERE n IN (1, 2)")
    assert load(night) == ("increment", (0, 0, 2, 298))
    assert night.differing("shop") == []


@pytest.mark.parametrize(
    ("path", "tables"),
    [
        ("buckets", "d"),
        *(pytest.param(path, "dxntsk", marks=pytest.mark.endurance) for path in ("blocks", "every key")),
        pytest.param("buckets", "dxntsk", marks=pytest.mark.endurance),
    ],
)
def test_tables_and_columns_may_be_called_as_the_queries_call_theirs(
    night: Night, path: str, tables: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody's table is in the way of a name that only a query of ours has."""
    if path == "every key":
        monkeypatch.setattr(blocks, "FEW_ROWS", 1000)
    key, value = ("k int", "n") if path == "blocks" else ("h uuid", "md5(n::text)::uuid")
    others = [*"bcdfghknoprstux", "bucket", "keys", "hashes", "bits", "block", "bit", "gone", "lacking"]
    others += ["ours", "theirs", "inserted", "merged", "content", "number", "place", "hash", "excluded"]
    names = [name for name in others if name != key.split()[0]]
    script = "".join(
        f"CREATE TABLE {table} ({key} PRIMARY KEY, {' int, '.join(names)} int);"
        f"INSERT INTO {table} SELECT {value}, {', '.join(['n'] * len(names))} FROM generate_series(0, 399) n;"
        for table in tables
    )
    said = (
        "{max_deleted: 100%, where: d < 300 AND bucket + n + bit >= 0, checks: [{unique: [c, f]}, "
        "{sql: 'SELECT * FROM {table} WHERE f < 0'}, {relationship: {columns: [o], to: d, to_columns: [c]}}]}"
    )
    declared = "".join(f"  {table}: {said}\n" for table in tables)
    night.platform.source("shop", script, f"source: shop\ntables:\n{declared}")
    for table in tables:
        night.load("shop", table)
    for table in tables:
        night.ask("shop", f"DELETE FROM {table} WHERE f IN (17, 350)")
        night.ask("shop", f"UPDATE {table} SET d = 999 WHERE f = 18")
        run = next_run()
        assert counts(night.load("shop", table, run)) == (0, 0, 2, 298), table
        assert night.extraction(run, f"shop.{table}")[0] == "increment"
