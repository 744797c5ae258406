"""What analysts made (functions, domains, views) is never run with the pipeline's rights."""

import pytest

from pipeline.errors import StepError
from tests.support.marks import in_depth
from tests.support.marts import STAFF, built, declare, load_all, loaded
from tests.support.night import Night, next_run

TABLE = f"-- materialize: table\n{STAFF.partition(chr(10))[2]}"
# A function that says whether it has more rights than an analyst, and types whose values make it say so.
MADE = """
    CREATE FUNCTION analyst.may() RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$
    BEGIN
        BEGIN EXECUTE 'RESET ROLE'; EXCEPTION WHEN OTHERS THEN NULL; END;
        RETURN pg_catalog.has_schema_privilege('ops', 'usage');
    END $$;
    CREATE DOMAIN analyst.checked AS int CHECK (NOT analyst.may());
    CREATE TYPE analyst.pair AS (one analyst.checked);
    CREATE TYPE analyst.kind AS ENUM ('good', 'bad')
"""


@pytest.fixture
def run(night: Night) -> str:
    run = loaded(night)
    as_analyst(night, MADE)
    assert night.value("warehouse", "SELECT analyst.may()") is True, "it tells a login with more rights"
    return run


def group(night: Night) -> str:
    return f"{night.platform.database('warehouse')}_analyst"


def as_analyst(night: Night, statements: str) -> None:
    night.ask("warehouse", f"SET ROLE {group(night)}; {statements}; RESET ROLE")


@pytest.mark.parametrize(
    ("value", "type_"),
    [("1::analyst.checked", "integer"), ("'good'::analyst.kind", "analyst.kind")],
)
@pytest.mark.parametrize("head", ["", "-- materialize: table\n"], ids=["view", "table"])
def test_a_mart_has_a_column_of_an_analysts_type(
    night: Night, run: str, head: str, value: str, type_: str
) -> None:
    """In a table a domain is what it constrains: the pipeline copies the rows."""
    declare(night, thing=f"{head}SELECT {value} AS a")
    built(night, "thing", run)
    # A view's own text is run with the rights of whoever reads it.
    assert len(night.ask("warehouse", f"SET ROLE {group(night)}; SELECT * FROM mart.thing")) == 1
    if head:
        query = "SELECT atttypid::regtype::text FROM pg_attribute WHERE attrelid = 'mart.thing'::regclass"
        assert (type_,) in night.ask("warehouse", query)


@in_depth(
    ("text", "told"),
    [
        (
            "-- materialize: table\nSELECT ARRAY[1]::analyst.checked[] AS a",
            "a column of the type analyst.checked[]",
        ),
        ("-- materialize: table\nSELECT ROW(1)::analyst.pair AS a", "a column of the type analyst.pair"),
        ("SELECT '{1}'::analyst.checked[] AS a", "a constant of the type analyst.checked[]"),
        ("SELECT '(1)'::analyst.pair AS a", "a constant of the type analyst.pair"),
    ],
    quick=2,
)
def test_a_mart_whose_rows_or_text_would_run_a_domains_check_is_refused(
    night: Night, run: str, text: str, told: str
) -> None:
    declare(night, thing=text)
    with pytest.raises(StepError, match="would be run with the pipeline's rights") as caught:
        built(night, "thing", run)
    assert told in str(caught.value)
    assert "thing.sql:1: " in str(caught.value)
    assert not caught.value.retryable
    assert night.value("warehouse", "SELECT to_regclass('mart.thing')") is None


@pytest.mark.parametrize("table", ["mart.staff", "hr.employee"])
def test_a_materialized_view_of_an_analyst_is_filled_and_indexed_with_the_rights_of_its_owner(
    night: Night, run: str, table: str
) -> None:
    declare(night, staff=TABLE)
    built(night, "staff", run)
    as_analyst(
        night,
        f"""
        CREATE MATERIALIZED VIEW analyst.seen AS SELECT analyst.may() AS may, count(*) AS rows FROM {table};
        CREATE UNIQUE INDEX seen_rows ON analyst.seen (rows) WHERE NOT analyst.may();
        CREATE VIEW analyst.shown AS SELECT may FROM analyst.seen
        """,
    )
    night.ask("hr", "ALTER TABLE employee ALTER COLUMN id TYPE bigint")
    later = load_all(night, next_run())
    built(night, "staff", later)
    assert night.ask("warehouse", "SELECT may FROM analyst.shown") == [(False,)]
    # The row is in a partial index whose condition a login with more rights does not fulfil.
    pages = "SELECT reltuples::int FROM pg_class WHERE oid = 'analyst.seen_rows'::regclass"
    assert night.value("warehouse", pages) == 1
    assert night.ask("hr", "SELECT count(*) FROM employee") == night.ask(
        "warehouse", "SELECT count(*) FROM hr.employee"
    )


@pytest.mark.usefixtures("run")
def test_a_view_that_hangs_on_a_table_and_would_run_a_domains_check_is_named(night: Night) -> None:
    """Its text has the constant, which is read as the view is made again."""
    as_analyst(night, "CREATE VIEW analyst.fixed AS SELECT id, '(1)'::analyst.pair AS pair FROM hr.employee")
    night.ask("hr", "ALTER TABLE employee ALTER COLUMN id TYPE bigint")
    with pytest.raises(StepError, match=r'view "analyst"."fixed" .* constant of the type analyst.pair'):
        load_all(night, next_run())
    assert night.value("warehouse", "SELECT count(*) FROM analyst.fixed") == 3
    as_analyst(night, "DROP VIEW analyst.fixed")
    load_all(night, next_run())


@pytest.mark.usefixtures("run")
def test_an_owner_who_may_not_read_the_table_any_more_is_named(night: Night) -> None:
    """Filled with the pipeline's rights, it would show what its owner may not see."""
    as_analyst(night, "CREATE MATERIALIZED VIEW analyst.copy AS SELECT name FROM hr.employee")
    night.ask("warehouse", f"REVOKE SELECT ON hr.employee FROM {group(night)}")
    night.ask("hr", "UPDATE employee SET name = 'another'; ALTER TABLE employee ALTER COLUMN id TYPE bigint")
    with pytest.raises(StepError, match=r'"analyst"."copy".*permission denied.*') as caught:
        load_all(night, next_run())
    assert group(night) in str(caught.value.hint)
    assert ("Ada",) in night.ask("warehouse", "SELECT name FROM analyst.copy")
