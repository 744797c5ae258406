"""`*`: every table of a source by one line, fixed as a run begins; what looks personal is masked."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline import access, catalog
from pipeline.catalog import RelationKind, Source, Table
from pipeline.catalog.source_files import everything
from pipeline.catalog.source_files.everything import Listed
from pipeline.catalog.source_files.guesses import Relation
from pipeline.errors import ProblemsError, StepError, UnreachableError
from pipeline.loading import extract, listing, load, snapshot_holder, validate
from tests.support.hooks import Hook
from tests.support.marts import declare
from tests.support.night import Night, next_run

ALL = 'source: shop\ntables: "*"\nleave: [tmp_*]\n'
SHOP = """
    CREATE TABLE item (id int PRIMARY KEY, price numeric);
    INSERT INTO item SELECT n, n FROM generate_series(1, 50) n;
    CREATE TABLE person (id int PRIMARY KEY, email text, born_on date, town text);
    INSERT INTO person VALUES (1, 'ann@example.org', '2000-01-01', 'Bern');
    CREATE TABLE visit (at timestamptz, page text);
    INSERT INTO visit VALUES (now(), 'a'), (now(), 'a');
    CREATE TABLE code (code text NOT NULL UNIQUE);
    CREATE TABLE tmp_1 (id int PRIMARY KEY);
    CREATE VIEW all_people AS SELECT email FROM person;
    CREATE SCHEMA pay;
    CREATE TABLE pay.contract (id int PRIMARY KEY);
"""
COLUMNS = (("id", "integer"), ("email", "text"), ("note", "text"), ("changed_at", "timestamp with time zone"))


def write(folder: Path, **sources: str) -> Path:
    (folder / "sources").mkdir(exist_ok=True)
    for name, text in sources.items():
        (folder / "sources" / f"{name}.yaml").write_text(text)
    return folder


def found(
    folder: Path, *relations: Relation, source: str = "shop"
) -> tuple[dict[str, Table], dict[str, str]]:
    """Return the tables that a source has by its file, and what is left out and why."""
    declared = catalog.read(folder)
    there = [Listed(one, datetime.now(UTC)) for one in relations]
    expanded, left = everything.expanded(declared.source(source), there, declared.sources.values())
    return dict(expanded.tables), {one.name: one.why for one in left}


def table(name: str, **more: object) -> Relation:
    return Relation("public", name, key=("id",), columns=COLUMNS, **more)  # type: ignore[arg-type]


def of_run(night: Night, run: str) -> Source:
    """Return the source as a run knows it, which asks for it once."""
    access.end_brief()
    return listing.of_run(night.settings, catalog.read(night.platform.analysts), "shop", run)


def loaded(night: Night, run: str) -> Source:
    """Take every table of the source through its steps."""
    source = of_run(night, run)
    with night.snapshot("shop", run):
        for one in source.tables.values():
            extract.extract_table(night.settings, one, run)
    for one in source.tables.values():
        validate.validate_extract(night.settings, one, run)
        load.load_table(night.settings, one, run)
    return source


# What the file says, without a source.


def test_a_line_of_its_own_wins_over_everything_and_leave_keeps_out(tmp_path: Path) -> None:
    text = (
        'source: shop\ntables: {"*": {deletes: soft}, item: {deletes: ignore}}\nleave: [tmp_*, public.old]\n'
    )
    folder = write(tmp_path, shop=text)
    tables, left = found(
        folder,
        table("item"),
        table("bill"),
        table("tmp_1"),
        table("old"),
        Relation("pay", "contract"),
        table("seen", kind=RelationKind.VIEW),
        table("spatial_ref_sys", extension="postgis"),
    )
    assert {name: one.deletes for name, one in tables.items()} == {"item": "ignore", "bill": "soft"}
    assert (tables["bill"].by_wildcard, tables["item"].by_wildcard, left) == (True, False, {})


def test_what_looks_personal_is_masked_unless_somebody_said_that_he_looked(tmp_path: Path) -> None:
    tables, _ = found(write(tmp_path, shop='source: shop\ntables: "*"\n'), table("bill"))
    assert {name: one.mask for name, one in tables["bill"].columns.items()} == {
        "email": "hash",
        "note": "exclude",
    }
    # Views and other tables that show these are held to it.
    assert ("public", "bill", "email", "hash") in tables["bill"].source_masks
    said = '{note: {unmasked: reviewed}, changed_at: {mask: "null"}, id: {mask: exclude}, missing: }'
    text = f'source: shop\ntables: {{"*": {{columns: {said}}}}}\n'
    tables, _ = found(write(tmp_path, shop=text), table("bill"))
    assert {name: (one.mask, one.unmasked) for name, one in tables["bill"].columns.items()} == {
        "email": ("hash", None),
        "note": (None, "reviewed"),
        "changed_at": ("null", None),
        # What tells rows apart must keep them apart.
        "id": ("hash", None),
    }


def test_the_key_the_cursor_and_the_history_are_what_each_table_has_of_them(tmp_path: Path) -> None:
    defaults = "{changes: cursor, cursor: changed_at, history: true}"
    folder = write(tmp_path, shop=f'source: shop\ndefaults: {defaults}\ntables: "*"\n')
    tables, _ = found(
        folder,
        table("bill"),
        Relation("public", "plain", key=("id",), columns=COLUMNS[:1]),
        Relation("public", "keyless", columns=COLUMNS),
        Relation("public", "unique_", key=("id",), key_is_primary=False, columns=COLUMNS),
        Relation("public", "marked", key=("id",), columns=(*COLUMNS[:1], ("_valid_from", "date"))),
    )
    assert {name: (one.changes, one.cursor, one.key, one.history) for name, one in tables.items()} == {
        "bill": ("cursor", "changed_at", None, True),
        "plain": ("xmin", None, None, True),
        "keyless": ("full", None, None, False),
        "unique_": ("cursor", "changed_at", ("id",), True),
        "marked": ("xmin", None, None, True),
    }
    assert tables["marked"].columns["_valid_from"].mask == "exclude"


def test_names_that_collide_are_left_out_and_told_with_the_line_to_write(tmp_path: Path) -> None:
    shop = 'source: shop\ndefaults: {history: true}\ntables: {"*": , bill: {schema: pay, table: invoice}}\n'
    folder = write(tmp_path, shop=shop, shop_old="source: shop_old\ntables: {item: }\n")
    closed = table("closed", readable=False)
    tables, left = found(
        folder,
        table("bill"),
        table("bill_history"),
        table("old_item"),
        table("a" * 60),
        closed,
        table("fine"),
    )
    assert set(tables) == {"bill", "fine"}
    assert left == {
        "public.bill": "the name bill is taken by pay.invoice; write public_bill: "
        "{schema: public, table: bill}",
        "public.bill_history": "the name of a history is taken by it; write public_bill_history: "
        "{schema: public, table: bill_history}",
        "public.old_item": "quarantine.shop_old_item belongs to a table of another source; write "
        "public_old_item: {schema: public, table: old_item}",
        f"public.{'a' * 60}": f"its name is too long for its history; write public_{'a' * 60}: "
        f"{{schema: public, table: {'a' * 60}}}, or a shorter name",
        "public.closed": "the source's role may not read it; GRANT SELECT on it, or write it under leave",
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("source: shop\ntables: *\n", 'write "*" in quotes'),
        (
            'source: shop\ntables: "*"\nexcept: [a]\n',
            "3: except: unknown key; write tables that stay in the source",
        ),
        ('source: shop\ntables: {"*": {where: a > 1}}\n', "2: tables.*.where: applies to one table"),
        (
            'source: shop\ntables: {"*": {columns: {a: {range: {min: 1}}}}}\n',
            "2: tables.*.columns.a.range: for all tables",
        ),
    ],
)
def test_what_cannot_be_said_of_everything_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ProblemsError) as caught:
        catalog.read(write(tmp_path, shop=text))
    assert [one for one in caught.value.problems if problem in one], caught.value.problems


def test_marts_and_checks_may_name_what_only_the_source_knows_but_nothing_that_stays_there(
    tmp_path: Path,
) -> None:
    check = "[{relationship: {columns: a, to: item, to_columns: id}}]"
    text = f'source: shop\ntables: {{"*": , bill: {{checks: {check}}}}}\nleave: [tmp_*]\n'
    folder = write(tmp_path, shop=text)
    (folder / "marts").mkdir()
    (folder / "marts" / "sold.sql").write_text("SELECT id FROM shop.item JOIN shop.bill_history USING (id)")
    assert catalog.read(folder).mart("sold").reads == ("shop.item", "shop.bill_history")
    (folder / "marts" / "sold.sql").write_text("SELECT id FROM shop.tmp_1")
    with pytest.raises(
        ProblemsError, match=r"marts/sold\.sql:1: shop\.tmp_1: stays in the source; remove it from"
    ):
        catalog.read(folder)


# A source.


@pytest.mark.endurance
def test_every_table_of_a_source_is_loaded_by_one_line_and_nothing_personal_in_clear(night: Night) -> None:
    night.platform.source("shop", SHOP, ALL)
    source = loaded(night, next_run())
    assert set(source.tables) == {"item", "person", "visit", "code"}
    assert night.value("warehouse", "SELECT count(*) FROM shop.item") == 50
    assert night.value("warehouse", "SELECT count(*) FROM shop.visit") == 2
    (row,) = night.ask("warehouse", "SELECT to_jsonb(p) - '_loaded_at' FROM shop.person p")
    assert row[0].keys() == {"id", "email", "town"}
    assert row[0]["town"] == "Bern"
    assert "example.org" not in row[0]["email"]


def test_a_run_keeps_the_tables_that_it_began_with_and_the_next_one_has_the_new(
    night: Night, hook: Hook
) -> None:
    night.platform.source("shop", SHOP, ALL)
    run = next_run()
    first = of_run(night, run)
    night.ask("shop", "CREATE TABLE patient (id int PRIMARY KEY, diagnosis text)")
    assert of_run(night, run) == first
    second = of_run(night, next_run())
    assert set(second.tables) - set(first.tables) == {"patient"}
    # What was asked for at first stays what that run is about.
    assert of_run(night, run) == first
    one, two = hook.alerts("found/shop")
    assert (one.kind, one.command) == ("notice", "pipeline plan shop")
    assert one.summary == (
        'shop: new: tables included by "*": code, item, person, visit; columns that look personal and '
        "are masked: person.born_on (exclude), person.email (hash)"
    )
    assert two.summary == (
        'shop: new: tables included by "*": patient; columns that look personal and are masked: '
        "patient.diagnosis (exclude)"
    )
    # The declaration is the analysts': theirs counts at once.
    night.platform.declare("shop", ALL.replace("tmp_*", "tmp_*, visit"))
    assert set(first.tables) - set(of_run(night, run).tables) == {"visit"}


def test_a_personal_column_that_comes_after_a_run_began_does_not_come_in_clear(night: Night) -> None:
    night.platform.source("shop", SHOP, ALL)
    run = next_run()
    source = of_run(night, run)
    night.ask("shop", "ALTER TABLE item ADD buyer_email text DEFAULT 'a@example.org', ADD size int")
    with (
        night.snapshot("shop", run),
        pytest.raises(StepError, match='"buyer_email" look personal, and were added') as told,
    ):
        extract.extract_table(night.settings, source.table("item"), run)
    assert told.value.retryable is False
    assert night.value("warehouse", "SELECT to_regclass('shop.item')") is None
    assert of_run(night, next_run()).table("item").columns["buyer_email"].mask == "hash"


@pytest.mark.endurance
def test_a_loaded_table_that_is_gone_stays_in_the_list_until_somebody_leaves_it(night: Night) -> None:
    """Its step fails as of any other that is gone: its last rows do not grow old in silence."""
    night.platform.source("shop", SHOP, ALL)
    loaded(night, next_run())
    night.ask("shop", "DROP TABLE item; ALTER TABLE visit RENAME TO visited; CREATE TABLE brief (id int)")
    of_run(night, next_run())
    night.ask("shop", "DROP TABLE brief")  # never loaded: nothing is lost
    run = next_run()
    source = of_run(night, run)
    assert set(source.tables) == {"item", "visit", "visited", "person", "code"}
    with (
        night.snapshot("shop", run),
        pytest.raises(StepError, match=r"create it again, or write item under leave in sources/shop\.yaml"),
    ):
        extract.extract_table(night.settings, source.table("item"), run)
    assert night.value("warehouse", "SELECT count(*) FROM shop.item") == 50
    night.platform.declare("shop", ALL.replace("tmp_*", "tmp_*, item, visit"))
    assert set(of_run(night, run).tables) == {"visited", "person", "code"}


@pytest.mark.endurance
def test_a_source_out_of_reach_is_taken_as_it_was_and_one_that_shows_nothing_is_no_success(
    night: Night,
) -> None:
    night.platform.source("shop", SHOP, ALL)
    before = of_run(night, next_run())
    run, reader = next_run(), night.platform.reader("shop")
    night.ask("shop", f'ALTER ROLE "{reader}" NOLOGIN')
    try:
        assert of_run(night, run).tables.keys() == before.tables.keys()
        night.ask("warehouse", "DELETE FROM ops.listing")
        empty = of_run(night, run)
        assert (dict(empty.tables), bool(empty.everything)) == ({}, True)
        with pytest.raises(UnreachableError):
            snapshot_holder.open_snapshot(night.settings, empty, run, 1)
    finally:
        night.ask("shop", f'ALTER ROLE "{reader}" LOGIN')
    night.ask("shop", f'REVOKE ALL ON ALL TABLES IN SCHEMA public FROM "{reader}"')
    closed = of_run(night, run)
    assert not closed.tables
    with pytest.raises(StepError, match='"\\*" matches no table: the schema public has none that the source'):
        snapshot_holder.open_snapshot(night.settings, closed, run, 1)


# All of it.


@pytest.mark.endurance
def test_a_whole_night_goes_by_the_list_and_every_command_sees_its_tables(night: Night, hook: Hook) -> None:
    night.platform.source("shop", SHOP, ALL)
    declare(night, sold="SELECT count(*) AS items FROM shop.item", odd="SELECT id FROM shop.nothing")
    planned = night.run("plan", "shop")
    assert planned.code == 0, planned
    assert 'shop: "*" includes 4 tables: code, item, person, visit' in planned.out
    assert "  masked, because it looks personal: person.email (hash)" in planned.out
    ended = night.etl(next_run())
    # A mart of a table that is not there fails alone, and says what it misses.
    assert ended.code == 3, ended
    told = "marts/odd.sql:1: reads shop.nothing, which the source does not have"
    assert [one for one in hook.alerts() if told in str(one.error)]
    (night.platform.analysts / "marts" / "odd.sql").unlink()
    assert night.run("rerun").code == 0
    assert night.value("warehouse", "SELECT items FROM mart.sold") == 50
    night.ask(
        "shop", "CREATE TABLE refund (id int PRIMARY KEY, iban text); INSERT INTO refund VALUES (1, 'CH9')"
    )
    run = next_run()
    assert night.etl(run).code == 0
    assert night.value("warehouse", "SELECT count(*) FROM shop.refund WHERE iban <> 'CH9'") == 1
    again = night.etl(run)
    assert (again.code, "nothing to do" in again.out) == (0, True)
    assert night.run("run", "mart", "sold", "--run", next_run()).code == 0
    status = night.run("status")
    assert "shop.refund" in status.out, status
    assert night.run("rerun", "--from", "load", "shop.refund").code == 0
    audited = night.run("audit", "shop")
    assert (audited.code, "shop.refund" in audited.out) == (0, True)
    checked = night.run("plan", "shop", "--check")
    assert (checked.code, "shop.refund" in checked.out) == (0, True)
    page = night.platform.folder / "docs"
    assert night.run("docs", "--out", str(page)).code == 0
    assert 'id="shop.refund"' in (page / "tables.html").read_text()
    # It is gone: that is told, its rows stay, and what reads others goes on.
    night.ask("shop", "DROP TABLE refund")
    ended = night.etl(next_run())
    assert ended.code == 3
    assert [one.summary for one in hook.alerts("etl/shop.refund")] == ["shop.refund: ExtractTable failed"]
    assert night.value("warehouse", "SELECT count(*) FROM shop.refund") == 1
    night.platform.declare("shop", ALL.replace("tmp_*", "tmp_*, refund"))
    assert night.run("rerun").code == 0
    # A role that may read nothing is not a night without work.
    night.ask("shop", f'REVOKE ALL ON ALL TABLES IN SCHEMA public FROM "{night.platform.reader("shop")}"')
    night.ask("warehouse", "DELETE FROM ops.listing; DELETE FROM ops.watermark")
    ended = night.etl(next_run())
    assert ended.code == 3, ended
    assert '"*" matches no table' in ended.err + ended.out
