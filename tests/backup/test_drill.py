"""Restore drills: a sound backup is proven, a wrong one is not, and what was found is in the bucket, with the
warehouse or without it.
"""

import contextlib
from collections.abc import Iterator
from functools import partial

import pytest

from pipeline import postgres
from pipeline.alerts import hints
from pipeline.backup.database import assertions
from pipeline.backup.database.assertions import Assertion
from pipeline.backup.database.counting import Counting
from pipeline.backup.drills import attempt, controls, drill, report
from pipeline.backup.drills.report import Report
from pipeline.backup.restoring import restore, target
from pipeline.backup.restoring.restoration import Order, Restored
from pipeline.backup.store.manifest import dump_name
from pipeline.errors import CheckError, PipelineError, StepError, UnreachableError
from pipeline.observe.observed import archive
from tests.backup.test_restore import KEYED
from tests.support.archive import SMALL
from tests.support.night import Night, wait_until
from tests.support.platforms import Connection
from tests.support.restores import RUN, Restores

pytestmark = pytest.mark.endurance

MONTH = "2026-11"
LARGE = """
CREATE SCHEMA away;
CREATE EXTENSION citext SCHEMA away;
CREATE SEQUENCE counter;
SELECT setval('counter', 70);
SELECT lo_from_bytea(4711, 'large object');
"""


@pytest.fixture
def shop(restores: Restores) -> Restores:
    restores.source("shop", KEYED + LARGE)
    restores.back_up("shop")
    return restores


def drilled(restores: Restores, kind: type[PipelineError] = CheckError) -> Report:
    """Drill, see it fail, and return the report that is in the bucket."""
    with pytest.raises(kind) as failed:
        drill.drill_database(restores.archive.settings, "shop", MONTH)
    assert type(failed.value) is kind
    assert not attempt.is_held(restores.archive.settings, "shop", MONTH)
    return restores.report("shop", MONTH)


def test_a_sound_backup_is_proven_and_nothing_stays_but_the_report(shop: Restores) -> None:
    found = drill.drill_database(shop.archive.settings, "shop", MONTH)
    assert found.held
    assert {one.held for one in (*found.assertions, *found.controls)} == {True}
    assert {one.name for one in found.assertions} == {
        "tables",
        "sequences",
        "large objects",
        "objects",
        "constraints",
        "indexes",
        "amcheck",
        "extensions",
        "roles",
        "encoding and locale",
        "database owner",
        "in no backup",
        "settings and grants",
    }
    assert list(found.seconds) == ["download", "hash", "decrypt", "roles", "restore", "check"]
    assert found.recovery_seconds == pytest.approx(sum(found.seconds.values()), abs=0.01)
    assert found.limit_bytes is not None
    assert found.notes == ()
    assert found.grade == "A"
    assert shop.report("shop", MONTH) == found
    assert f"shop/{RUN}/drill-{MONTH}.json" in {name for _, name in shop.archive.names()}
    assert attempt.is_held(shop.archive.settings, "shop", MONTH)
    assert not attempt.is_held(shop.archive.settings, "shop", "2026-12")
    assert shop.databases() == []
    assert shop.roles() == set()
    assert shop.leftovers() == []


def test_what_a_lesser_login_may_not_restore_is_told_and_costs_the_best_grade(shop: Restores) -> None:
    with shop.archive.platform.connect("shop") as connection:
        postgres.rows(connection, "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC")
    shop.back_up("shop", "2026-11-23")
    found = drill.drill_database(shop.archive.settings, "shop", MONTH)
    assert found.notes == ("left out: default privileges for objects that postgres will create",)
    assert found.grade == "B"
    shop.archive.source("theirs", SMALL)
    shop.back_up("theirs")
    with (
        shop.without_second_login(),
        pytest.raises(
            StepError, match="only a superuser may act for postgres, which own or granted something"
        ),
    ):
        drill.drill_database(shop.archive.settings, "theirs", MONTH)
    assert drill.drill_database(shop.archive.settings, "theirs", MONTH).grade == "A"
    assert shop.databases() == []
    assert shop.roles() == set()


ODD = """
RESET ROLE;
CREATE EXTENSION dblink; -- has a composite type, which belongs to who makes the extension
CREATE TABLE of_extension (id int PRIMARY KEY, CHECK (id > 0));
ALTER EXTENSION dblink ADD TABLE of_extension;
CREATE EXTENSION postgres_fdw;
CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw;
CREATE FOREIGN TABLE away (id int) SERVER far;
CREATE FUNCTION noted() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER noted ON ddl_command_end EXECUTE FUNCTION noted();
CREATE PUBLICATION told FOR TABLE item;
CREATE COLLATION plain (provider = libc, locale = 'C');
CREATE STATISTICS together ON id, name FROM item;
CREATE TEXT SEARCH CONFIGURATION words (COPY = simple);
CREATE SUBSCRIPTION follow CONNECTION 'host=127.0.0.1' PUBLICATION p WITH (connect = false);
"""


@pytest.fixture
def superuser(shop: Restores) -> Iterator[Restores]:
    """Let the backup's login be a superuser, and not the one that made everything."""
    backup = f"backup_{shop.archive.platform.database('shop')}"
    with shop.archive.platform.connect("shop") as here:
        postgres.rows(here, f'ALTER ROLE "{backup}" SUPERUSER')
        postgres.rows(here, ODD)
        try:
            yield shop
        finally:
            for what in ("DISABLE", "SET (slot_name = NONE)"):
                postgres.rows(here, f"ALTER SUBSCRIPTION follow {what}")
            postgres.rows(here, "DROP SUBSCRIPTION follow")


def test_what_only_a_superuser_makes_is_proven_with_its_owners_and_goes_again(superuser: Restores) -> None:
    """What an extension brings along belongs to who restores it; a subscription would hold its database."""
    superuser.back_up("shop", "2026-11-23")
    found = drill.drill_database(superuser.archive.settings, "shop", MONTH)
    assert (found.run, found.grade, found.failures) == ("2026-11-23", "A", ())
    assert superuser.databases() == []
    kinds = {one.kind for one in superuser.archive.manifest("shop", "2026-11-23").contents.objects}
    assert kinds >= {
        "large object",
        "event trigger",
        "publication",
        "foreign server",
        "collation",
        "statistics",
        "text search configuration",
    }


def test_the_warehouse_has_the_newest_report_of_a_month_but_is_not_needed(
    shop: Restores, night: Night
) -> None:
    for seconds in (1, 2):
        found = drill.drill_database(shop.archive.settings, "shop", MONTH)
        query = "SELECT held, grade, run, report ->> 'finished_at' FROM ops.drill WHERE database = 'shop'"
        finished = found.model_dump(mode="json")["finished_at"]
        assert night.ask("warehouse", query) == [(True, "A", RUN, finished)], seconds
    shop.archive.write_sections(warehouse={"secret": "nothing/here"})
    assert drill.drill_database(shop.archive.settings, "shop", "2026-12").held
    assert shop.report("shop", "2026-12").held


def test_a_flipped_bit_fails_the_drill_and_the_report_says_where(shop: Restores) -> None:
    shop.archive.control.corrupt(shop.archive.bucket_name, dump_name("shop", RUN), offset=3000)
    found = drilled(shop)
    assert found.grade == "F"
    assert found.error is not None
    assert f"{dump_name('shop', RUN)} is damaged" in found.error
    assert shop.databases() == []


def test_a_wrong_manifest_fails_the_drill_and_is_replaced_by_a_good_one(shop: Restores) -> None:
    contents = shop.archive.manifest("shop", RUN).contents
    tables = tuple(one.model_copy(update={"rows": one.rows + 1}) for one in contents.tables)
    shop.change_manifest("shop", contents=contents.model_copy(update={"tables": tables}))
    found = drilled(shop)
    assert found.grade == "F"
    assert any("public.item has 1,000 rows instead of 1,001" in line for line in found.failures)
    shop.change_manifest("shop", contents=contents)
    assert drill.drill_database(shop.archive.settings, "shop", MONTH).held
    assert attempt.is_held(shop.archive.settings, "shop", MONTH)


def test_a_server_that_lacks_something_is_told_and_no_proof(shop: Restores) -> None:
    shop.change_manifest("shop", client_version="99.0")
    found = drilled(shop, StepError)
    assert found.grade == "F"
    assert "pg_dump 99.0" in (found.error or "")


def test_what_is_to_be_mended_for_a_drill_stands_apart_from_why_it_failed(
    shop: Restores, night: Night
) -> None:
    """In the report, and where it is read from the ledger: status tells it before the command."""
    shop.change_manifest("shop", client_version="99.0")
    found = drilled(shop, StepError)
    assert found.error is not None
    assert found.hint
    assert found.hint not in found.error
    with night.warehouse() as warehouse:
        (known,) = archive.drills_in_ledger(warehouse)
    failed = known.as_failure()
    assert (failed.error, failed.hint) == (found.error, found.hint)
    assert str(hints.of_step(failed)).startswith(f"{found.hint}, then pipeline ")


def test_without_a_backup_or_a_bucket_there_is_nothing_to_prove(restores: Restores) -> None:
    restores.source("shop", KEYED)
    with pytest.raises(
        StepError, match="the bucket has no verified backup of it; make one with 'pipeline run backup shop'"
    ):
        drill.drill_database(restores.archive.settings, "shop", MONTH)
    restores.archive.control.remove_bucket(restores.archive.bucket_name)
    with pytest.raises(UnreachableError, match="there is no such bucket"):
        drill.drill_database(restores.archive.settings, "shop", MONTH)
    restores.archive.control.create_bucket(restores.archive.bucket_name)  # for who tidies up


def test_an_object_that_was_swapped_is_passed_over_for_an_older_backup_and_told(shop: Restores) -> None:
    shop.back_up("shop", "2026-11-23")
    with shop.archive.writing() as bucket:
        other = b"not what was verified"
        bucket.write_small(dump_name("shop", "2026-11-23"), other, content_type="text/plain", replace=True)
    found = drill.drill_database(shop.archive.settings, "shop", MONTH)
    assert found.run == RUN
    assert any("newest backup, run 2026-11-23, differs from the verified" in line for line in found.notes)


def test_what_a_killed_drill_left_on_the_server_is_removed(shop: Restores) -> None:
    with shop.connect("postgres") as connection, connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE drill_shop OWNER drill; ")
        cursor.execute(f"COMMENT ON DATABASE drill_shop IS '{target.UNFINISHED}'")
        cursor.execute("SET ROLE drill; CREATE ROLE drill_left")
        cursor.execute(f"COMMENT ON ROLE drill_left IS '{drill.MARK}'")
        cursor.execute("CREATE DATABASE drill_of_somebody")
    try:
        assert drill.drill_database(shop.archive.settings, "shop", MONTH).held
        assert shop.databases() == ["drill_of_somebody"]
        assert shop.roles() == set()
    finally:
        with shop.connect("postgres") as connection, connection.cursor() as cursor:
            cursor.execute("DROP DATABASE drill_of_somebody")


def test_a_copy_that_is_not_damaged_would_fail_the_control(
    shop: Restores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control looks at what was damaged, and is not content with itself."""
    monkeypatch.setattr(controls, "_flip", lambda _path, _offset: None)
    found = drilled(shop)
    assert found.grade == "F"
    assert "a damaged copy is refused: its SHA-256 did not change" in found.failures


def test_a_drill_that_took_too_long_does_not_hold() -> None:
    held = (Assertion(name="tables", held=True, detail=""),)
    assert report.grade(held, (), in_time=False, error=None) == "C"
    assert "C" not in report.HOLDING


# Each assertion fails where it should.

BROKEN: dict[str, tuple[str, str, str]] = {
    "row": ("DELETE FROM purchase WHERE id = 7", "tables", "public.purchase has 2,999 rows instead of 3,000"),
    "value": ("UPDATE item SET name = 'x' WHERE id = 7", "tables", "public.item has other rows"),
    "table": ("DROP TABLE purchase", "tables", "public.purchase is missing"),
    "more": ("CREATE TABLE more (id int)", "tables", "public.more was not in the backup"),
    "column": (
        "ALTER TABLE item ADD COLUMN more int",
        "tables",
        "public.item has the columns id, name, more",
    ),
    "table's owner": ("ALTER TABLE item OWNER TO postgres", "tables", "public.item belongs to postgres"),
    "sequence": ("SELECT setval('counter', 69)", "sequences", "public.counter is at 69, before 70"),
    "no sequence": ("DROP SEQUENCE counter", "sequences", "public.counter is missing"),
    "large object": ("SELECT lo_put(4711, 0, 'x')", "large objects", "their checksum is"),
    "no large object": ("SELECT lo_unlink(4711)", "large objects", "0 instead of 1"),
    "index": ("DROP INDEX purchase_item", "objects", "of kind index instead of"),
    "owner": (
        "ALTER SEQUENCE counter OWNER TO postgres",
        "objects",
        "postgres owns 1 of kind sequence instead of 0",
    ),
    "large object's owner": (
        "ALTER LARGE OBJECT 4711 OWNER TO postgres",
        "objects",
        "postgres owns 1 of kind large object instead of 0",
    ),
    "constraint": (
        "ALTER TABLE purchase DROP CONSTRAINT purchase_item_id_fkey",
        "objects",
        "of kind constraint",
    ),
    "not validated": (
        "ALTER TABLE purchase DROP CONSTRAINT purchase_item_id_fkey, ADD CONSTRAINT purchase_item_id_fkey "
        "FOREIGN KEY (item_id) REFERENCES item NOT VALID",
        "objects",
        "of kind constraint not validated instead of 0",
    ),
    "invalid index": (
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'purchase_item'::regclass",
        "indexes",
        "public.purchase_item is not valid",
    ),
    "corrupt index": (
        # The table forgets which rows it has, and the index does not.
        "UPDATE pg_index SET indkey = '3' WHERE indexrelid = 'purchase_item'::regclass",
        "amcheck",
        "public.purchase_item: ",
    ),
    "extension": ("DROP EXTENSION citext CASCADE", "extensions", "citext is missing"),
    "extension's schema": (
        "ALTER EXTENSION citext SET SCHEMA public",
        "extensions",
        "in schema public instead of away",
    ),
    "old extension": (
        "UPDATE pg_extension SET extversion = '1.0' WHERE extname = 'citext'",
        "extensions",
        "citext is 1.0, older",
    ),
    "database's owner": (
        "ALTER DATABASE {database} OWNER TO postgres",
        "database owner",
        "it is postgres instead of",
    ),
}


def test_each_assertion_notices_what_it_is_for(shop: Restores) -> None:
    name = shop.name("broken")
    for what, (statement, assertion, words) in BROKEN.items():
        restored = restore.restore_into_new(shop.archive.settings, Order("shop"), name)
        assert restored.held
        with shop.connect(name) as connection, connection.cursor() as cursor:
            cursor.execute("SET allow_system_table_mods = on; " + statement.format(database=name))
        found = {one.name: one for one in compared(shop, restored)}
        assert found[assertion].held is False, what
        assert words in found[assertion].detail, what
        with shop.connect("postgres") as connection, connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE {name}")


@contextlib.contextmanager
def as_superuser(restores: Restores, restored: Restored) -> Iterator[Connection]:
    """Open a restored database in the manifest's session settings."""
    with restores.connect(restored.target.database) as connection:
        for setting, value in restored.manifest.contents.session.items():
            postgres.rows(connection, "SELECT set_config(%s, %s, false)", (setting, value))
        yield connection


def compared(restores: Restores, restored: Restored) -> list[Assertion]:
    """Compare a restored database with its manifest again."""

    def wait(counting: Counting) -> None:
        wait_until(lambda: counting.ended, "everything is counted")

    opened = partial(as_superuser, restores, restored)
    return assertions.compare(opened, restored.manifest.contents, wait)
