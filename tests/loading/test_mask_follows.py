"""A mask follows its column: whatever it is called, and whichever column has its name by now."""

import re

import pytest

from pipeline import postgres
from pipeline.errors import CheckError, StepError
from tests.support.marks import in_depth
from tests.support.night import Night

KEY = "a key for the hashes of this test, long enough"
PEOPLE = """
    CREATE TABLE person (id int PRIMARY KEY, phone varchar(40), town text, salary text);
    INSERT INTO person
    SELECT n, 'SECRET-' || n, 'town ' || n, 'SECRET pay ' || n FROM generate_series(1, 30) n;
"""
UPGRADE = "ALTER TABLE person RENAME phone TO phone_old; ALTER TABLE person ADD phone varchar(30)"
REVIEWED = "{unmasked: reviewed}"


def declared(columns: str, rest: str = "") -> str:
    return f"source: shop\ntables: {{person: {{columns: {{{columns}}}{rest}}}}}\n"


def both(mask: str) -> str:
    return f"phone: {{mask: '{mask}'}}, salary: {{mask: '{mask}'}}"


def masked(night: Night, columns: str, rest: str = "") -> None:
    """Load people whose phone and salary are masked."""
    night.platform.sandbox.vault.write("mask", {"key": KEY})
    night.platform.source("shop", PEOPLE, declared(columns, rest))
    night.load("shop", "person")


def in_clear(night: Night) -> list[str]:
    """Return the tables of the warehouse in which a secret is found, staging and quarantine included."""
    with night.warehouse() as warehouse:
        tables = postgres.rows(
            warehouse,
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')",
        )
        query = "SELECT count(*) FROM {} t WHERE t::text LIKE '%SECRET%'"
        return [name for (name,) in tables if postgres.value(warehouse, query.format(name))]


def refused(night: Night) -> str:
    with pytest.raises((CheckError, StepError)) as raised:
        night.load("shop", "person")
    assert not in_clear(night)
    return str(raised.value)


def columns_of(night: Night) -> list[str]:
    found = night.ask(
        "warehouse",
        "SELECT attname FROM pg_attribute WHERE attrelid = 'shop.person'::regclass AND attnum > 0"
        " AND NOT attisdropped AND attname <> '_loaded_at' ORDER BY attnum",
    )
    return [name for (name,) in found]


@in_depth("mask", ["hash", "null", "exclude"], quick=1)
def test_a_mask_follows_its_column_when_another_one_takes_its_name(night: Night, mask: str) -> None:
    """The usual upgrade of a vendor: the old column is kept under another name, and a new one comes."""
    masked(night, both(mask))
    night.ask("shop", UPGRADE + "; UPDATE person SET town = 'x' WHERE id = 1")
    told = refused(night)
    assert 'column "phone" was renamed to "phone_old" in the source' in told
    assert "write 'renamed_from: phone' under phone_old in sources/shop.yaml" in told
    assert "narrowed" not in told
    night.platform.declare("shop", declared(both(mask), ", drift: {narrowed: refresh, added: evolve}"))
    refused(night)
    night.platform.declare("shop", declared(both(mask) + ", phone_old: {renamed_from: phone}"))
    night.ask("shop", "UPDATE person SET phone = 'SECRET new ' || id")
    for columns in (
        both(mask) + ", phone_old: {renamed_from: phone}",
        # The line that accepted it may go, and what was declared of the new column as well.
        both(mask),
        f"phone: {REVIEWED}, salary: {{mask: '{mask}'}}, phone_old: {{renamed_from: phone}}",
    ):
        night.platform.declare("shop", declared(columns))
        night.ask("shop", "UPDATE person SET phone = NULL" if "reviewed" in columns else "SELECT 1")
        night.load("shop", "person")
        assert not in_clear(night)
    assert night.value("warehouse", "SELECT town FROM shop.person WHERE id = 1") == "x"
    assert ("phone_old" in columns_of(night)) == (mask != "exclude")


@pytest.mark.endurance
def test_a_mask_follows_its_column_into_history_and_back(night: Night) -> None:
    masked(night, both("hash"), ", history: true, deletes: soft")
    before = night.ask("warehouse", "SELECT id, phone FROM shop.person ORDER BY id")
    night.ask("shop", "DELETE FROM person WHERE id = 3")
    night.load("shop", "person")
    night.ask("shop", UPGRADE)
    rest = ", history: true, deletes: soft"
    night.platform.declare("shop", declared(both("hash") + ", phone_old: {renamed_from: phone}", rest))
    night.load("shop", "person")
    assert night.ask("warehouse", "SELECT id, phone_old FROM shop.person ORDER BY id") == before
    kept = "SELECT DISTINCT id, phone_old FROM shop.person_history ORDER BY id"
    assert night.ask("warehouse", kept) == before
    assert not in_clear(night)


SWAP = """
    ALTER TABLE person RENAME phone TO between; ALTER TABLE person RENAME town TO phone;
    ALTER TABLE person RENAME between TO town
"""
CHAIN = """
    ALTER TABLE person RENAME town TO place; ALTER TABLE person RENAME phone TO town;
    ALTER TABLE person ADD phone text
"""


DROP_AND_RENAME = "ALTER TABLE person DROP town; ALTER TABLE person RENAME phone TO town"
PLAIN = "ALTER TABLE person RENAME phone TO mobile"


@pytest.mark.endurance
@pytest.mark.parametrize(
    ("mask", "statements", "accepted"),
    [
        ("hash", SWAP, {"town": "phone", "phone": "town"}),
        ("exclude", SWAP, {"town": "phone", "phone": "town"}),
        ("hash", CHAIN, {"town": "phone", "place": "town"}),
        ("exclude", CHAIN, {"town": "phone", "place": "town"}),
        ("exclude", PLAIN, {"mobile": "phone"}),
        ("null", DROP_AND_RENAME, {"town": "phone"}),
    ],
    ids=["swap hash", "swap exclude", "chain hash", "chain exclude", "plain", "drop and rename"],
)
def test_masks_follow_columns_that_swap_or_hand_on_their_names(
    night: Night, mask: str, statements: str, accepted: dict[str, str]
) -> None:
    masked(night, f"phone: {{mask: '{mask}'}}, salary: {{mask: exclude}}", ", history: true")
    night.ask("shop", statements)
    told = refused(night)
    for new, old in accepted.items():
        assert f'column "{old}" was renamed to "{new}" in the source' in told
        assert f"'renamed_from: {old}' under {new}" in told
    there = "phone" in columns_in(night)
    columns = {name: f"renamed_from: {old}" for name, old in accepted.items()}
    columns["salary"] = "mask: exclude"
    if there:
        columns["phone"] = ", ".join(filter(None, (f"mask: '{mask}'", columns.get("phone"))))
    for _ in range(2):
        text = ", ".join(f"{name}: {{{said}}}" for name, said in columns.items())
        night.platform.declare("shop", declared(text, ", history: true"))
        night.load("shop", "person")
        assert not in_clear(night)
        # Once it is accepted, the lines may go.
        columns = {name: said for name, said in columns.items() if "mask" in said}
        columns = {name: re.sub(r", renamed_from.*", "", said) for name, said in columns.items()}
    # What was never masked came over as it is, under its new name.
    town = next((new for new, old in accepted.items() if old == "town" and new != "phone"), None)
    if town:
        assert night.value("warehouse", f"SELECT count(*) FROM shop.person WHERE {town} LIKE 'town %'") == 30


@in_depth("anew", [False, True], quick=1)
def test_a_column_that_is_masked_under_the_name_of_one_that_is_gone_leaves_nothing_in_clear(
    night: Night, anew: bool
) -> None:
    """Its old name stays free in the source, and in the warehouse it would keep what was loaded before."""
    rest = ", history: true, deletes: soft"
    masked(night, both("hash"), rest)
    night.ask("shop", "DELETE FROM person WHERE id = 3")
    night.load("shop", "person")
    night.ask("shop", "ALTER TABLE person DROP phone; ALTER TABLE person RENAME town TO phone")
    if anew:
        night.ask("shop", "ALTER TABLE person ADD town text DEFAULT 'village'")
    columns = "phone: {mask: hash, renamed_from: town}, salary: {mask: hash}, town: {unmasked: reviewed}"
    night.platform.declare("shop", declared(columns if anew else columns.partition(", town")[0], rest))
    night.load("shop", "person")
    for relation in ("person", "person_history"):
        query = f"SELECT count(*) FROM shop.{relation} t WHERE t::text LIKE '%town %'"
        assert night.value("warehouse", query) == 0, relation
    assert night.value("warehouse", "SELECT count(*) FROM shop.person WHERE length(phone) = 64") == 29


def columns_in(night: Night) -> list[str]:
    query = "SELECT attname FROM pg_attribute WHERE attrelid = 'person'::regclass AND attnum > 0"
    return [name for (name,) in night.ask("shop", f"{query} AND NOT attisdropped")]


def test_a_rename_that_drift_takes_in_by_itself_takes_its_mask_along(night: Night) -> None:
    rest = ", drift: {renamed: evolve}"
    masked(night, "phone: {mask: exclude}, town: {mask: hash}, salary: {mask: 'null'}", rest)
    night.ask("shop", SWAP)
    for _ in range(3):
        night.load("shop", "person")
        assert not in_clear(night)
        # By its name it would be a hash by now.
        assert "town" not in columns_of(night)


def test_a_mask_that_is_no_longer_declared_stays_until_somebody_says_that_it_may_go(night: Night) -> None:
    """As when 'pipeline init --force' wrote the file anew, or a line was lost in a merge."""
    masked(night, both("hash"))
    night.platform.declare("shop", "source: shop\ntables: {person: {}}\n")
    night.load("shop", "person")
    assert not in_clear(night)
    warned = night.ask("warehouse", "SELECT observed FROM ops.check_result WHERE check_name ~ 'mask_kept'")
    assert (
        'column "phone" stays hashed, as it was loaded before, though its declaration does not say so; write '
        "'mask: hash' under phone in sources/shop.yaml, or 'unmasked: reviewed' to load it as it is declared",
    ) in warned
    night.platform.declare("shop", declared(f"phone: {REVIEWED}, salary: {{mask: hash}}"))
    night.load("shop", "person")
    assert night.value("warehouse", "SELECT phone FROM shop.person WHERE id = 1") == "SECRET-1"
    assert night.value("warehouse", "SELECT length(salary) FROM shop.person WHERE id = 1") == 64


@in_depth("how", ["made anew", "dropped for a copy"], quick=1)
def test_a_new_column_that_may_hold_what_was_masked_blocks_until_it_is_reviewed(
    night: Night, how: str
) -> None:
    """The numbers of the columns of a table that was made anew prove nothing."""
    masked(night, "phone: {mask: exclude}, salary: {mask: hash}")
    if how == "made anew":
        reader = night.platform.reader("shop")
        night.ask("shop", "CREATE TABLE copy AS SELECT id, town, salary, phone AS mobile FROM person")
        night.ask("shop", "ALTER TABLE copy ADD phone text, ADD PRIMARY KEY (id)")
        night.ask(
            "shop",
            f'DROP TABLE person; ALTER TABLE copy RENAME TO person; GRANT SELECT ON person TO "{reader}"',
        )
        columns = "phone: {mask: exclude}, salary: {mask: hash}"
    else:
        night.ask("shop", "ALTER TABLE person ADD mobile text; UPDATE person SET mobile = phone")
        night.ask("shop", "ALTER TABLE person DROP phone")
        columns = "salary: {mask: hash}"
    night.platform.declare("shop", declared(columns))
    told = refused(night)
    assert 'column "mobile" (character varying(40)) is new' in told or 'column "mobile" (text) is new' in told
    assert "may hold the values that are masked in " in told
    assert "write 'unmasked: reviewed' under mobile in sources/shop.yaml, or the mask that it needs" in told
    night.platform.declare("shop", declared(columns + ", mobile: {mask: hash}"))
    night.load("shop", "person")
    assert not in_clear(night)
    night.platform.declare("shop", declared(columns + f", mobile: {REVIEWED}"))
    night.load("shop", "person")
    assert night.value("warehouse", "SELECT mobile FROM shop.person WHERE id = 1") == "SECRET-1"


@pytest.mark.endurance
def test_masks_follow_tables_that_swap_their_names(night: Night) -> None:
    night.platform.sandbox.vault.write("mask", {"key": KEY})
    declaration = declared("phone: {mask: hash}, salary: {mask: exclude}", ", max_deleted: 100%")
    declaration = declaration.replace("}}\n", "}, guest: {}}\n")
    night.platform.source("shop", PEOPLE, declaration)
    night.ask("shop", "CREATE TABLE guest (id int PRIMARY KEY, phone varchar(40), town text, salary text)")
    night.ask("shop", "INSERT INTO guest VALUES (1, 'open', 'open', 'open')")
    night.ask("shop", f'GRANT SELECT ON guest TO "{night.platform.reader("shop")}"')
    for name in ("person", "guest"):
        night.load("shop", name)
    for old, new in (("person", "between"), ("guest", "person"), ("between", "guest")):
        night.ask("shop", f"ALTER TABLE {old} RENAME TO {new}")
    for _ in range(2):
        for name in ("person", "guest"):
            night.load("shop", name)
            assert not in_clear(night)
    assert night.value("warehouse", "SELECT count(*) FROM shop.guest WHERE length(phone) = 64") == 30


@pytest.mark.endurance
def test_a_mask_outlives_the_name_of_its_table_and_the_table_of_the_warehouse(night: Night) -> None:
    masked(night, both("hash"))
    night.ask("shop", "ALTER TABLE person RENAME phone TO mobile; ALTER TABLE person RENAME TO human")
    night.platform.declare("shop", "source: shop\ntables: {staff: {table: human}}\n")
    night.load("shop", "staff")
    assert not in_clear(night)
    night.platform.declare("shop", "source: shop\ntables: {person: {table: human}}\n")
    night.ask("warehouse", "DROP TABLE shop.person")
    night.load("shop", "person")
    assert not in_clear(night)
    assert night.value("warehouse", "SELECT count(*) FROM shop.person WHERE length(mobile) = 64") == 30
