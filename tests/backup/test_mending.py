"""A database whose functions find names by a search path is restored all the same, and what cannot be
restored is left out and named: nothing else is lost for it.
"""

import pytest

from pipeline import postgres
from pipeline.backup.drills import drill
from pipeline.errors import CheckError
from tests.backup.test_restore import restored
from tests.support.archive import SMALL
from tests.support.restores import Restores

# Each takes seconds.
pytestmark = pytest.mark.endurance

MONTH = "2026-11"
BY_SEARCH_PATH = (
    SMALL
    + """
CREATE FUNCTION low(word text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower(word)';
CREATE FUNCTION plain(word text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
    'BEGIN RETURN public.low(word); END';
CREATE TABLE code (code text PRIMARY KEY);
INSERT INTO code VALUES ('a'), ('b');
CREATE FUNCTION known(word text) RETURNS boolean LANGUAGE plpgsql STABLE AS
    'BEGIN RETURN EXISTS (SELECT FROM code WHERE code = word); END';
CREATE TABLE coded (
    id int PRIMARY KEY, code text CHECK (known(code)), lowered text GENERATED ALWAYS AS (plain(code)) STORED
);
INSERT INTO coded SELECT n, 'a' FROM generate_series(1, 10) AS n;
CREATE TABLE note (id int PRIMARY KEY, coded_id int REFERENCES coded);
INSERT INTO note SELECT n, n FROM generate_series(1, 10) AS n;
CREATE TABLE seen (id int);
CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO public.seen VALUES (NEW.id); RETURN NEW; END';
CREATE TRIGGER see AFTER INSERT ON coded FOR EACH ROW EXECUTE FUNCTION see();
CREATE INDEX item_plain ON item (plain(name));
CREATE MATERIALIZED VIEW plainly AS SELECT plain(name) AS name FROM item;
-- Since 17 no index is made by a function that needs a search path: those of before are there all the same.
CREATE OR REPLACE FUNCTION plain(word text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
    'BEGIN RETURN low(word); END';
"""
)
READING = (
    SMALL
    + """
CREATE TABLE code (code text PRIMARY KEY);
INSERT INTO code VALUES ('a'), ('b');
CREATE FUNCTION known(word text) RETURNS boolean LANGUAGE plpgsql STABLE AS
    'BEGIN RETURN EXISTS (SELECT FROM code WHERE code = word); END';
CREATE TABLE coded (id int PRIMARY KEY, code text CHECK (known(code)));
INSERT INTO coded SELECT n, 'a' FROM generate_series(1, 10) AS n;
"""
)
# A column that is computed as its table is made, and a domain that looks elsewhere as rows come.
COMPUTED = (
    READING
    + """
CREATE FUNCTION always(word text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
    'BEGIN RETURN EXISTS (SELECT FROM code WHERE code = word); END';
CREATE TABLE about (
    id int PRIMARY KEY, yes int GENERATED ALWAYS AS (CASE WHEN always('a') THEN id END) STORED
);
INSERT INTO about (id) SELECT n FROM generate_series(1, 10) AS n;
CREATE DOMAIN coding AS text CHECK (known(value));
CREATE TABLE worded (id int PRIMARY KEY, code coding);
INSERT INTO worded VALUES (1, 'a');
CREATE TABLE "by year" (id int) PARTITION BY RANGE (id);
"""
)
# Rows that came before the check, and a function that is gone.
BROKEN = (
    BY_SEARCH_PATH
    + """
CREATE TABLE aged (id int PRIMARY KEY, born int);
INSERT INTO aged SELECT n, n FROM generate_series(1, 10) AS n;
CREATE FUNCTION limits(born int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN true; END';
ALTER TABLE aged ADD CONSTRAINT old CHECK (limits(born));
CREATE OR REPLACE FUNCTION limits(born int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
    'BEGIN RETURN born < 5; END';
CREATE FUNCTION odd(id int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN id; END';
CREATE INDEX item_odd ON item (odd(id));
CREATE OR REPLACE FUNCTION odd(id int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
    'BEGIN RETURN gone FROM nowhere; END';
"""
)


def test_functions_with_unqualified_names_are_lent_a_search_path_and_all_is_restored(
    restores: Restores,
) -> None:
    restores.source("shop", BY_SEARCH_PATH)
    restores.back_up("shop")
    name = restores.name("copy")
    code, said = restored(restores, "--into-new", name)
    assert code == 0, said
    told = " ".join(said.split())
    assert "a search path set for" in told
    assert "INDEX public item_plain" in told
    assert "in the source, ALTER FUNCTION ... SET search_path =" in told
    assert restores.ask(name, "SELECT count(*), min(lowered) FROM coded") == [(10, "a")]
    assert restores.ask(name, "SELECT count(*) FROM plainly") == [(1000,)]
    # As in the source: only the trigger that fires there once more would have written here again.
    assert restores.ask(name, "SELECT count(*) FROM seen") == [(0,)]
    assert restores.ask(name, "SELECT tgenabled::text FROM pg_trigger WHERE tgname = 'see'") == [("O",)]
    assert (
        restores.ask(
            name,
            "SELECT proname FROM pg_proc"
            " WHERE proconfig IS NOT NULL AND pronamespace = 'public'::regnamespace",
        )
        == []
    )
    assert restores.ask(name, "SELECT DISTINCT convalidated FROM pg_constraint") == [(True,)]


def test_what_fails_is_left_out_and_named_and_all_rows_are_there(restores: Restores) -> None:
    restores.source("shop", BROKEN)
    restores.back_up("shop")
    name = restores.name("copy")
    code, said = restored(restores, "--into-new", name)
    assert code == 4, said
    told = " ".join(said.split())
    assert (
        'left out: CHECK old of public.aged was restored as NOT VALID: check constraint "old" of '
        'relation "aged"' in told
    )
    assert 'INDEX public item_odd: relation "nowhere" does not exist' in told
    assert restores.ask(name, "SELECT count(*) FROM aged") == [(10,)]
    assert restores.ask(name, "SELECT count(*) FROM coded") == [(10,)]
    assert restores.ask(name, "SELECT convalidated FROM pg_constraint WHERE conname = 'old'") == [(False,)]
    # Nobody's rows are told.
    assert "Failing row" not in said
    with pytest.raises(CheckError, match="item_odd"):
        drill.drill_database(restores.archive.settings, "shop", MONTH)
    found = restores.report("shop", MONTH)
    assert found.grade == "F"
    assert found.error is None


def test_one_table_whose_check_reads_another_comes_with_its_rows_and_the_check_is_named(
    restores: Restores,
) -> None:
    """The other table is not there. What is in the database already stays as it is, functions too."""
    restores.source("shop", READING)
    restores.back_up("shop")
    name = restores.name("copy")
    code, said = restored(restores, "--into-new", name, "--table", "coded")
    told = " ".join(said.split())
    assert code == 4, said
    assert "CHECK coded_code_check of public.coded was restored as NOT VALID" in told
    assert 'relation "code" does not exist' in told
    assert restores.ask(name, "SELECT count(*), min(code) FROM coded") == [(10, "a")]
    kept = "SELECT count(*) FROM pg_proc WHERE proname = 'known' AND proconfig IS NOT NULL"
    assert restores.ask(name, kept) == [(0,)]


def test_a_table_that_is_computed_with_as_it_is_made_comes_at_the_second_try(restores: Restores) -> None:
    """It ended the whole restore: its function finds a table by name that is made after it."""
    restores.source("shop", COMPUTED)
    restores.back_up("shop")
    name = restores.name("copy")
    code, said = restored(restores, "--into-new", name)
    assert code == 0, said
    assert "TABLE public about" in " ".join(said.split())
    assert restores.ask(name, "SELECT count(*), sum(yes) FROM about") == [(10, 55)]
    assert restores.ask(name, "SELECT count(*) FROM worded") == [(1,)]


def test_one_table_that_needs_another_one_says_how_to_have_it_whole(restores: Restores) -> None:
    restores.source("shop", COMPUTED)
    restores.back_up("shop")
    code, said = restored(restores, "--into-new", restores.name("copy"), "--table", "about")
    told = " ".join(said.split())
    assert code == 3, said
    # The reason, and not what came of it: the owner of a table that is not there.
    assert 'TABLE public about: relation "code" does not exist; ' in told
    assert "restore the whole backup, without --table" in told
    name = restores.empty("used")
    owner = restores.owner("shop")
    with restores.connect(name) as connection:
        postgres.rows(connection, f"CREATE ROLE {owner}")
        postgres.rows(connection, f"GRANT {owner} TO drill")
        postgres.rows(connection, f"GRANT CREATE ON SCHEMA public TO {owner}")
    path = restores.keep("target", uri=restores.uri(name))
    code, said = restored(restores, "--into", f"vault:{path}", "--table", "about")
    told = " ".join(said.split())
    assert (code, "restore the whole backup, without --table" in told) == (3, True), said
    # In a database of somebody's, where everything else stays.
    assert "drop the table there, or repeat the command with --clean" in told
    assert "drop and create it again" not in told
    code, said = restored(restores, "--into-new", restores.name("copy"), "--table", "worded")
    assert code == 4, said
    assert "next: public.worded needs objects that were not restored with it" in " ".join(said.split())
    code, said = restored(restores, "--into-new", restores.name("other"), "--table", "abuot")
    assert code == 2, said
    assert "did you mean public.about" in said


def test_a_table_that_came_to_inherit_is_restored_as_it_was_though_its_columns_moved(
    restores: Restores,
) -> None:
    """pg_dump puts the parent's columns first; each such restore ended with 4, and each drill with F."""
    inherits = """
        CREATE TABLE parent (id int, name text);
        CREATE TABLE child (extra int, name text, id int PRIMARY KEY);
        ALTER TABLE child INHERIT parent;
        INSERT INTO child SELECT n, 'child ' || n, n + 100 FROM generate_series(1, 10) AS n;
        """
    restores.source("shop", SMALL + inherits)
    restores.back_up("shop")
    name = restores.name("copy")
    code, said = restored(restores, "--into-new", name)
    assert code == 0, said
    assert "columns in another order, because of inheritance: public.child" in " ".join(said.split())
    assert restores.ask(name, "SELECT extra, name, id FROM child WHERE id = 103") == [(3, "child 3", 103)]
