"""`pipeline init`: what it writes from a live source is valid, loads, and says what was guessed."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipeline import catalog, names
from pipeline.catalog import RelationKind, Source, schema
from pipeline.catalog.source_files.draft import LARGE_ROWS, draft
from pipeline.catalog.source_files.guesses import Relation
from pipeline.catalog.source_files.personal import suggested_mask
from pipeline.sandbox import sources
from tests.support.night import Night, next_run

SHOP = """
    CREATE EXTENSION pg_stat_statements;
    CREATE SCHEMA "Archive";
    CREATE SCHEMA locked;
    CREATE TABLE customer (id int PRIMARY KEY, full_name text, "E-Mail" text, is_student boolean,
        born_on date);
    CREATE TABLE "Archive".customer (id int PRIMARY KEY, iban text, _loaded_at text);
    CREATE TABLE "Archive"."Odd: ""name"" #1" ("key: #" int PRIMARY KEY, "a
b" text);
    CREATE TABLE visit (at timestamptz);
    CREATE TABLE voucher (code text NOT NULL, amount numeric, note text, UNIQUE (code) INCLUDE (amount));
    CREATE TABLE maybe (code text UNIQUE, partial text NOT NULL);
    CREATE UNIQUE INDEX ON maybe (partial) WHERE partial <> '';
    CREATE TABLE sale (id int, sold_on date, PRIMARY KEY (sold_on, id)) PARTITION BY RANGE (sold_on);
    CREATE TABLE sale_2025 PARTITION OF sale FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
    CREATE TABLE sale_2026 PARTITION OF sale FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
    CREATE TABLE own (id int PRIMARY KEY);
    ALTER TABLE own ENABLE ROW LEVEL SECURITY;
    CREATE TABLE "null" (id int PRIMARY KEY);
    CREATE TABLE locked.payroll (id int PRIMARY KEY);
    CREATE TABLE secret_plan (id int PRIMARY KEY);
    CREATE VIEW adult AS SELECT id, full_name, now() AS updated_at FROM customer;
    CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM customer;
    CREATE MATERIALIZED VIEW never_filled AS SELECT count(*) FROM customer WITH NO DATA;
    INSERT INTO sale SELECT n, date '2025-06-01' + n FROM generate_series(1, 400) AS n;
    INSERT INTO customer VALUES (1, 'Ann', 'ann@example.org', true, '2000-01-01');
    REFRESH MATERIALIZED VIEW counted;
    ANALYZE;
"""


def shop(night: Night) -> str:
    """Make the source, with one schema and one table that the role may not read, and write its file."""
    night.platform.source("shop", SHOP)
    reader = night.platform.reader("shop")
    night.ask("shop", f"REVOKE ALL ON SCHEMA locked FROM {reader}")
    night.ask("shop", f"REVOKE ALL ON secret_plan FROM {reader}")
    ended = night.run("init", "shop")
    assert (ended.code, ended.errors) == (0, [])
    return declaration(night).read_text()


def declaration(night: Night) -> Path:
    return night.platform.analysts / "sources" / "shop.yaml"


def test_what_is_written_says_what_was_guessed(night: Night) -> None:
    """Every table is there once, and each that could be loaded wrongly or should not be carries a reason."""
    text = shop(night)
    blocks = {block.split(":")[0].strip(): block for block in text.split("tables:\n")[1].split("\n\n")}
    assert text.startswith("# yaml-language-server: $schema=../.schema/source.schema.json\n")
    assert "# columns:\n    #   full_name: {mask: hash}\n" in blocks["customer"]
    assert '    #   "E-Mail": {mask: hash}\n    #   born_on: {mask: exclude}' in blocks["customer"]
    assert "is_student" not in text
    assert "    schema: Archive\n    table: customer" in blocks["Archive_customer"]
    assert "      _loaded_at: {mask: exclude}" in blocks["Archive_customer"]
    assert "changes: full  # guessed: without a key" in blocks["visit"]
    assert "key: [code]  # guessed: no primary key" in blocks["voucher"]
    assert "changes: full" in blocks["maybe"]
    assert "changes: full  # guessed: a view" in blocks["adult"]
    assert "# cursor: updated_at" in blocks["adult"]
    assert "a materialized view" in blocks["counted"]
    assert "# partitioned, about 400 rows" in blocks["sale"]
    assert "sale_2025" not in text
    assert "Row security may hide rows" in blocks["own"]
    assert '"null":' in text
    assert "# Not loaded, because the role may not read them" in text
    assert "\n#   locked.payroll\n" in text
    assert "\n#   public.secret_plan\n" in text
    assert "#   public.pg_stat_statements (pg_stat_statements)" in text
    assert "never filled: REFRESH MATERIALIZED VIEW.\n#   public.never_filled\n" in text
    assert "never_filled" not in blocks


@pytest.mark.endurance
def test_what_is_written_is_valid_and_loads(night: Night) -> None:
    """Names that need quoting, tables without a key, views and partitions: all come over as they are."""
    shop(night)
    ended = night.run("validate", str(night.platform.analysts))
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == "1 source, 11 tables, 0 marts, 0 dashboards: no problem found\n"
    copied = night.platform.analysts / ".schema" / "source.schema.json"
    assert json.loads(copied.read_text()) == schema.schema()

    # As the comment in the file asks for.
    night.ask("shop", f'ALTER ROLE "{night.platform.reader("shop")}" BYPASSRLS')
    loaded = night.etl(next_run())

    assert loaded.code == 0, loaded.err
    assert [told for told in night.differing("shop") if not told.startswith("adult")] == []


@pytest.mark.endurance
@pytest.mark.parametrize("name", sources.SAMPLES)
def test_the_samples_load_with_what_is_written_of_them(night: Night, name: str) -> None:
    night.platform.source(name, sources.script(name).read_text())
    assert night.run("init", name).code == 0

    loaded = night.etl(next_run())

    assert loaded.code == 0, loaded.err
    assert night.differing(name) == []


def test_a_file_that_is_there_stays_unless_forced(night: Night) -> None:
    """What analysts wrote in it would be lost."""
    night.platform.source("shop", "CREATE TABLE item (id int PRIMARY KEY)", "# mine\n")
    told = night.run("init", "shop")
    assert told.code == 2
    assert told.errors == [
        f"{declaration(night)}: exists already; to overwrite it, add --force; to compare, add --stdout"
    ]
    assert declaration(night).read_text() == "# mine\n"
    printed = night.run("init", "shop", "--stdout")
    assert (printed.code, declaration(night).read_text()) == (0, "# mine\n")
    assert night.run("init", "shop", "--force").code == 0
    assert declaration(night).read_text() == printed.out


def test_what_cannot_be_written_is_told(night: Night) -> None:
    night.platform.source("shop")
    empty = night.run("init", "shop")
    assert (empty.code, empty.errors) == (
        3,
        [
            "source shop: the role can read no table of it; GRANT SELECT on its tables to it, then run "
            "this again"
        ],
    )
    unknown = night.run("init", "shops")
    assert unknown.code == 2
    assert "did you mean shop?" in unknown.err


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12)
RELATIONS = st.lists(
    st.builds(
        Relation,
        schema=st.sampled_from(["public", "a", "Ä b"]),
        name=TEXT,
        kind=st.sampled_from(RelationKind),
        key=st.one_of(st.just(()), st.just(("id",))),
        key_is_primary=st.booleans(),
        rows=st.sampled_from([0, 7, LARGE_ROWS]),
        columns=st.lists(
            st.tuples(TEXT | st.sampled_from(["_loaded_at", "email"]), st.just("text")),
            unique_by=lambda column: column[0],
            max_size=3,
        ).map(tuple),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda relation: (relation.schema, relation.name),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@example([Relation("public", "*"), Relation("other", "*", columns=(("*", "text"),))])
@given(RELATIONS)
def test_any_names_are_written_so_that_they_are_read_back(tmp_path: Path, relations: list[Relation]) -> None:
    """A table can be called anything, and what it is called must not become YAML."""
    (tmp_path / "sources").mkdir(exist_ok=True)
    (tmp_path / "sources" / "shop.yaml").write_text(draft("shop", relations), encoding="utf-8")

    found: Source = catalog.read(tmp_path).source("shop")

    assert sorted((table.schema_name, table.relation) for table in found.tables.values()) == sorted(
        (relation.schema, relation.name) for relation in relations
    )


def test_long_names_stay_apart(tmp_path: Path) -> None:
    """PostgreSQL would cut them off at the same letter."""
    relations = [Relation(schema, "é" * 31) for schema in ("public", "archive", "archive_2")]
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "shop.yaml").write_text(draft("shop", relations), encoding="utf-8")
    tables = catalog.read(tmp_path).source("shop").tables
    assert len(tables) == 3
    assert all(len(name.encode()) <= names.MAXIMUM_BYTES for name in tables)


@pytest.mark.parametrize(
    ("table", "column", "type_name", "mask"),
    [
        ("employee", "given_name", "text", "hash"),
        ("employee", "birthDate", "date", "exclude"),
        ("mitarbeiter", "Straße", "text", "hash"),
        ("mitarbeiter", "GEBURTSDATUM", "date", "exclude"),
        ("mitarbeiter", "staatsangehörigkeit", "text", "exclude"),
        ("mitarbeiter", "name", "text", "hash"),
        ("department", "name", "text", None),
        ("salary", "amount", "numeric(12,2)", "exclude"),
        ("order", "amount", "numeric(12,2)", None),
        ("employee", "national_id", "bigint", "hash"),
        ("employee", "address_id", "bigint", None),
        ("employee", "email_sent_at", "timestamp with time zone", None),
        ("employee", "email_verified", "boolean", None),
        ("ticket", "comments", "text", "exclude"),
        ("ticket", "mailing", "text", None),
        ("employee", "phones", "text[]", "hash"),
        ("employee", "phone_numbers", "text[]", "hash"),
        ("student", "dateofbirth", "date", "exclude"),
        ("student", "DATEOFBIRTH", "date", "exclude"),
        ("student", "phonenumber", "text", "hash"),
        ("student", "emailaddress", "text", "hash"),
        ("student", "vor_name", "text", "hash"),
        ("student", "IBANNumber", "text", "hash"),
        ("student", "taxid", "text", "hash"),
        ("kunden", "name", "text", "hash"),
        ("pupils", "name", "text", "hash"),
        ("enrolment", "student_name", "text", "hash"),
        ("enrolment", "course_name", "text", None),
        ("student", "programme_name", "text", None),
    ],
)
def test_columns_are_called_personal_by_name_and_type(
    table: str, column: str, type_name: str, mask: str | None
) -> None:
    """A suggestion too many is one line; but one for every id and flag, and nobody reads them."""
    assert suggested_mask(table, column, type_name) == mask
