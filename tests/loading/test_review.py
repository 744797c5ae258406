"""Ways to be wrong with exit 0 that were found by looking for them."""

import pytest

from pipeline.errors import CheckError, StepError
from pipeline.loading import extract, validate
from tests.support.marks import in_depth
from tests.support.night import Night, next_run

SHOP = """
    CREATE TABLE item (id int PRIMARY KEY, code text NOT NULL, price numeric, secret text);
    INSERT INTO item SELECT n, 'code ' || n, n, 'HUSH ' || n FROM generate_series(1, 100) AS n;
"""


def declared(text: str = "") -> str:
    return f"source: shop\ntables: {{item: {{{text}}}}}\n"


def content(night: Night) -> str:
    return str(night.ask("warehouse", "SELECT t::text FROM shop.item AS t"))


def test_a_new_table_keeps_the_rows_that_deletes_ignore_has_kept(night: Night) -> None:
    night.platform.source("shop", SHOP, declared("deletes: ignore"))
    night.load("shop", "item")
    night.ask("shop", "DELETE FROM item WHERE id <= 10")
    night.ask("shop", "ALTER TABLE item ALTER COLUMN id TYPE bigint")
    assert night.load("shop", "item").total == 100


def test_a_new_table_does_not_get_around_the_stop_for_deletes(night: Night) -> None:
    night.platform.source("shop", SHOP, declared())
    night.load("shop", "item")
    night.ask("shop", "DELETE FROM item")
    night.ask("shop", "ALTER TABLE item ALTER COLUMN id TYPE bigint")
    with pytest.raises(CheckError, match="100 of 100 rows"):
        night.load("shop", "item")


@in_depth("mask", ["hash", "'null'", "exclude"], quick=1)
def test_a_masked_column_is_masked_under_its_new_name(night: Night, mask: str) -> None:
    night.platform.sandbox.vault.write("mask", {"key": "a key for these hashes that is long enough"})
    masked = f"secret: {{mask: {mask}}}"
    night.platform.source("shop", SHOP, declared(f"columns: {{{masked}}}"))
    night.load("shop", "item")
    night.ask("shop", "ALTER TABLE item RENAME COLUMN secret TO note")
    with pytest.raises((CheckError, StepError)):
        night.load("shop", "item")
    night.platform.declare("shop", declared(f"columns: {{{masked}, note: {{renamed_from: secret}}}}"))
    night.load("shop", "item")
    assert "HUSH" not in content(night)


def test_a_masked_column_that_is_gone_stops_the_table_even_when_it_was_made_anew(night: Night) -> None:
    """Its values may be under another name."""
    night.platform.source("shop", SHOP, declared("columns: {secret: {mask: 'null'}}"))
    night.load("shop", "item")
    night.ask("shop", "CREATE TABLE other AS SELECT id, code, price, secret AS note FROM item")
    night.ask(
        "shop", "DROP TABLE item; ALTER TABLE other RENAME TO item; ALTER TABLE item ADD PRIMARY KEY (id)"
    )
    night.ask("shop", f'GRANT SELECT ON item TO "{night.platform.reader("shop")}"')
    with pytest.raises(StepError, match='its columns name "secret"'):
        night.load("shop", "item")


def test_rows_that_were_staged_before_a_mask_was_declared_are_not_published(night: Night) -> None:
    night.platform.source("shop", SHOP, declared())
    run = next_run()
    night.extract("shop", run, "item")
    validate.validate_extract(night.settings, night.table("shop", "item"), run)
    night.platform.declare("shop", declared("columns: {secret: {mask: exclude}}"))
    table = night.table("shop", "item")
    assert not extract.is_extracted(night.settings, table, run)
    assert not validate.is_validated(night.settings, table, run)
    night.load("shop", "item", run)
    assert "HUSH" not in content(night)


@pytest.mark.endurance
def test_lost_rows_are_read_and_looked_at_again(night: Night) -> None:
    """Validation must not stand on rows that are gone: the run would be stuck."""
    night.platform.source("shop", SHOP, declared())
    run = next_run()
    night.extract("shop", run, "item")
    table = night.table("shop", "item")
    validate.validate_extract(night.settings, table, run)
    night.ask("warehouse", f'TRUNCATE staging."shop.item@{run}"')
    assert not validate.is_validated(night.settings, table, run)


def test_equal_counts_prove_nothing_where_the_source_does_not_hold_the_key(night: Night) -> None:
    night.platform.source("shop", SHOP, declared("key: [code]"))
    night.load("shop", "item")
    night.ask("shop", "INSERT INTO item VALUES (101, 'code 5', 0, '')")
    night.ask("shop", "DELETE FROM item WHERE id = 9")
    with pytest.raises(CheckError, match=r"its key \(code\) is not unique in the source"):
        night.load("shop", "item")


@pytest.mark.endurance
def test_a_key_that_is_written_differently_is_brought_over(night: Night) -> None:
    night.platform.source(
        "shop", "CREATE TABLE item (k numeric PRIMARY KEY); INSERT INTO item VALUES (1.0)", declared()
    )
    night.load("shop", "item")
    night.ask("shop", "UPDATE item SET k = 1.00")
    night.load("shop", "item")
    assert not night.differing("shop")
    assert not night.load("shop", "item").changed


def test_another_cursor_reads_all_rows(night: Night) -> None:
    night.platform.source(
        "shop",
        "CREATE TABLE item (id int PRIMARY KEY, s1 int, s2 int, name text);"
        "INSERT INTO item SELECT n, n * 500, n, 'name' FROM generate_series(1, 100) AS n",
        declared("changes: cursor, cursor: s1"),
    )
    night.load("shop", "item")
    night.ask("shop", "UPDATE item SET name = 'other', s2 = 101 WHERE id = 3")
    night.platform.declare("shop", declared("changes: cursor, cursor: s2"))
    night.load("shop", "item")
    assert not night.differing("shop")
    night.ask("shop", "UPDATE item SET name = 'missed' WHERE id = 4")
    night.load("shop", "item")
    night.platform.declare("shop", declared())
    night.load("shop", "item")
    assert not night.differing("shop")


@pytest.mark.endurance
def test_another_declared_key_is_taken_up(night: Night) -> None:
    night.platform.source("shop", SHOP, declared("key: [id]"))
    night.load("shop", "item")
    night.platform.declare("shop", declared("key: [code]"))
    night.load("shop", "item")
    night.ask("shop", "UPDATE item SET price = 0 WHERE id = 1")
    assert night.load("shop", "item").updated == 1


def test_another_key_of_the_hashes_hashes_all_rows_again(night: Night) -> None:
    """Half of the rows under each key would join with nothing."""
    vault = night.platform.sandbox.vault
    vault.write("mask", {"key": "the first key for these hashes, long enough"})
    night.platform.source("shop", SHOP, declared("columns: {secret: {mask: hash}}"))
    night.load("shop", "item")
    before = content(night)
    vault.write("mask", {"key": "the second key for these hashes, long enough"})
    run = next_run()
    night.load("shop", "item", run)
    assert night.extraction(run, "shop.item")[0] == "rebuild"
    assert content(night) != before


def test_deletes_become_soft_on_the_night_of_another_type(night: Night) -> None:
    night.platform.source("shop", SHOP, declared())
    night.load("shop", "item")
    night.platform.declare("shop", declared("deletes: soft"))
    night.ask("shop", "DELETE FROM item WHERE id = 1")
    night.ask("shop", "ALTER TABLE item ALTER COLUMN id TYPE bigint")
    night.load("shop", "item")
    assert night.ask("warehouse", "SELECT id FROM shop.item WHERE _deleted_at IS NOT NULL") == [(1,)]


def test_what_people_hung_on_a_table_is_not_lost_without_a_word(night: Night) -> None:
    night.platform.source("shop", SHOP, declared())
    night.load("shop", "item")
    night.ask("warehouse", "ALTER TABLE shop.item ENABLE ROW LEVEL SECURITY")
    night.ask("warehouse", "CREATE POLICY own ON shop.item USING (id < 5)")
    night.ask("shop", "ALTER TABLE item ALTER COLUMN id TYPE bigint")
    with pytest.raises(StepError, match='would lose row security policy "own", its row security'):
        night.load("shop", "item")
    assert night.value("warehouse", "SELECT count(*) FROM shop.item") == 100


@in_depth(
    ("hung", "told"),
    [
        (
            "CREATE TABLE public.whole (LIKE shop.item); ALTER TABLE shop.item INHERIT public.whole",
            "its inheritance from public.whole",
        ),
        ("CREATE TABLE public.mine () INHERITS (shop.item)", "the inheritance of public.mine from it"),
    ],
    quick=1,
)
def test_a_parent_or_a_child_that_people_gave_a_table_is_not_lost_without_a_word(
    night: Night, hung: str, told: str
) -> None:
    """The rows of a table would be gone from its parent, and that with exit 0."""
    night.platform.source("shop", SHOP, declared())
    night.load("shop", "item")
    night.ask("warehouse", hung)
    night.ask("shop", "ALTER TABLE item ALTER COLUMN id TYPE bigint")
    with pytest.raises(StepError, match=f"would lose {told}; drop that in the warehouse"):
        night.load("shop", "item")
    assert night.value("warehouse", "SELECT count(*) FROM shop.item") == 100


def test_a_quarantined_row_is_kept_whole_whatever_its_columns_are_called(night: Night) -> None:
    night.platform.source(
        "shop",
        "CREATE TABLE item (id int PRIMARY KEY, c text); INSERT INTO item VALUES (1, NULL), (2, 'x')",
        declared("columns: {c: {null_rate: {max: 0%, quarantine: rows}}}"),
    )
    assert night.load("shop", "item").quarantined == 1
    assert night.value("warehouse", "SELECT content->>'id' FROM quarantine.shop_item") == "1"


def test_a_crash_does_not_let_set_aside_rows_in(night: Night) -> None:
    """The places of the bad rows are UNLOGGED, the rows of a first load are not."""
    night.platform.source("shop", SHOP, declared("columns: {price: {range: {max: 50, quarantine: rows}}}"))
    run = next_run()
    night.extract("shop", run, "item")
    table = night.table("shop", "item")
    validate.validate_extract(night.settings, table, run)
    night.ask("warehouse", f'TRUNCATE staging."shop.item@{run} bad"')
    assert not validate.is_validated(night.settings, table, run)


def test_a_relationship_with_itself_looks_at_the_rows_to_come(night: Night) -> None:
    night.platform.source(
        "shop",
        "CREATE TABLE item (id int PRIMARY KEY, boss int); INSERT INTO item VALUES (1, NULL), (2, 1)",
        declared("checks: [{relationship: {columns: [boss], to: item, to_columns: [id]}}]"),
    )
    assert night.load("shop", "item").total == 2


def test_a_snapshot_of_an_earlier_moment_changes_nothing(night: Night) -> None:
    night.platform.source("shop", SHOP, declared())
    early, late = next_run(), next_run()
    with night.snapshot("shop", early):
        night.ask("shop", "UPDATE item SET price = 0 WHERE id = 1")
        night.load("shop", "item", late)
        with pytest.raises(StepError, match="the snapshot of this run is of"):
            extract.extract_table(night.settings, night.table("shop", "item"), early)


def test_a_column_of_ours_in_the_source_is_told(night: Night) -> None:
    night.platform.source("shop", "CREATE TABLE item (id int PRIMARY KEY, _loaded_at date)", declared())
    with pytest.raises(StepError, match="the name of its column _loaded_at is reserved"):
        night.load("shop", "item")
