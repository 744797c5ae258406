"""Checks as a gate: failing rows are kept where a person can see them, and nothing wrong is shown."""

from typing import Any

import pytest

from pipeline.errors import CheckError, StepError
from tests.support.marks import in_depth
from tests.support.night import Night

ORDERS = """
    CREATE TABLE customer (id int PRIMARY KEY);
    INSERT INTO customer SELECT n FROM generate_series(1, 10) AS n;
    CREATE TABLE orders (id int PRIMARY KEY, customer int, state text, amount numeric, email text, made date);
    INSERT INTO orders
    SELECT n, n % 10 + 1, 'open', n, n || '@example.org', '2026-01-01' FROM generate_series(1, 100) AS n;
"""


def declared(checks: str, columns: str = "{}") -> str:
    return (
        f"source: shop\ntables:\n  customer: {{}}\n  orders:\n    columns: {columns}\n    checks: {checks}\n"
    )


def shop(night: Night, declaration: str, *statements: str) -> None:
    night.platform.source("shop", ORDERS, declaration)
    for statement in statements:
        night.ask("shop", statement)


def quarantined(night: Night) -> list[tuple[Any, ...]]:
    return night.ask(
        "warehouse", "SELECT (content->>'id')::int, reason FROM quarantine.shop_orders ORDER BY 1, 2"
    )


def held(night: Night) -> str:
    with pytest.raises(CheckError) as raised:
        night.load("shop", "orders")
    return str(raised.value)


def test_failing_rows_are_kept_and_the_table_is_held_back(night: Night) -> None:
    shop(night, declared("[]", "{state: {accepted: [open, closed]}}"))
    night.load("shop", "orders")
    night.ask("shop", "UPDATE orders SET state = 'lost' WHERE id IN (3, 4)")
    told = held(night)
    assert "shop.orders: state accepted: 2 of 100 rows (2.00%), expected none" in told
    assert told.endswith("; the failing rows are in quarantine.shop_orders; its last good rows stay up")
    assert [row for row, _ in quarantined(night)] == [3, 4]
    assert night.value("warehouse", "SELECT count(*) FROM shop.orders WHERE state = 'open'") == 100


def test_quarantine_rows_loads_the_good_ones_and_reads_all_again_until_they_are_mended(night: Night) -> None:
    rows = "{state: {accepted: {values: [open, closed], quarantine: rows}}}"
    shop(night, declared("[]", rows))
    night.load("shop", "orders")
    night.ask("shop", "UPDATE orders SET state = 'lost' WHERE id = 3")
    night.ask("shop", "INSERT INTO orders VALUES (101, 1, 'lost', 1, 'x', '2026-01-01')")
    night.ask("shop", "UPDATE orders SET state = 'closed' WHERE id = 5")
    night.ask("shop", "DELETE FROM orders WHERE id = 6")
    loaded = night.load("shop", "orders")
    # 3 keeps its last good version, 101 is not there yet.
    assert (loaded.updated, loaded.deleted, loaded.total, loaded.quarantined) == (1, 1, 99, 2)
    assert night.value("warehouse", "SELECT state FROM shop.orders WHERE id = 3") == "open"
    assert [row for row, _ in quarantined(night)] == [3, 101]
    # Nobody touches the rows again: it is the declaration that was wrong.
    night.platform.declare("shop", declared("[]", rows.replace("closed", "closed, lost")))
    night.load("shop", "orders")
    assert not night.differing("shop", "orders")


@pytest.mark.endurance
@pytest.mark.parametrize(
    ("columns", "deletes"),
    [
        ("{state: {accepted: [closed]}}", "soft"),
        ("{state: {accepted: [closed]}, amount: {range: {max: 98}}}", "hard"),
    ],
)
def test_rows_that_were_loaded_are_set_aside_by_a_rule_that_comes_later(
    night: Night, columns: str, deletes: str
) -> None:
    """They were good when they were loaded, and nothing in the source has changed since."""
    declaration = declared("[]").replace(
        "orders:\n", f"orders:\n    deletes: {deletes}\n    quarantine: rows\n"
    )
    shop(night, declaration, "UPDATE orders SET state = 'closed' WHERE id > 3")
    night.load("shop", "orders")
    night.platform.declare("shop", declaration.replace("columns: {}", f"columns: {columns}"))
    wrong = [1, 2, 3] + ([99, 100] if "amount" in columns else [])
    # 3 is good from now on; 4 goes.
    night.ask("shop", "UPDATE orders SET state = 'closed' WHERE id = 3; DELETE FROM orders WHERE id = 4")
    wrong.remove(3)
    for _ in range(2):
        loaded = night.load("shop", "orders")
        assert (loaded.total, loaded.quarantined) == (99 - len(wrong), len(wrong))
        assert night.value("warehouse", "SELECT count(*) FROM shop.orders WHERE id = ANY(%s)", (wrong,)) == 0
        assert sorted({row for row, _ in quarantined(night)}) == wrong
    night.ask("shop", "UPDATE orders SET state = 'closed', amount = 1")
    assert night.load("shop", "orders").quarantined == 0
    assert not night.differing("shop", "orders")


UNIQUE = "{unique: [email]}"
SQL = (
    "{sql: 'select id from {table} where email in "
    "(select email from {table} group by 1 having count(*) > 1)'}"
)


@pytest.mark.endurance
@pytest.mark.parametrize("changes", ["xmin", "full"])
@pytest.mark.parametrize("check", [UNIQUE, SQL], ids=["unique", "sql"])
def test_rows_that_were_loaded_are_set_aside_by_a_check_of_several_rows_that_comes_later(
    night: Night, check: str, changes: str
) -> None:
    """Nothing in the source has changed since: what is read tells nothing of them."""
    later = f"orders:\n    changes: {changes}\n    quarantine: rows\n"
    before = declared("[]").replace("orders:\n", later)
    shop(night, before, "UPDATE orders SET email = 'same' WHERE id IN (3, 4)")
    night.load("shop", "orders")
    night.platform.declare("shop", declared(f"[{check}]").replace("orders:\n", later))
    for _ in range(2):
        loaded = night.load("shop", "orders")
        assert (loaded.total, loaded.quarantined) == (98, 2)
        assert not night.ask("warehouse", "SELECT 1 FROM shop.orders WHERE email = 'same'")
        assert {row for row, _ in quarantined(night)} == {3, 4}
    night.ask("shop", "UPDATE orders SET email = 'other' WHERE id = 4")
    assert night.load("shop", "orders").quarantined == 0
    assert not night.differing("shop", "orders")


def test_a_check_that_comes_later_and_holds_its_table_back_keeps_examples_of_what_was_loaded(
    night: Night,
) -> None:
    shop(night, declared("[]"), "UPDATE orders SET email = 'same' WHERE id IN (3, 4)")
    night.load("shop", "orders")
    night.platform.declare("shop", declared(f"[{UNIQUE}]"))
    told = held(night)
    assert "unique (email): 1 duplicated values, expected none; the failing rows are in quarantine" in told
    assert [row for row, _ in quarantined(night)] == [3, 4]


def test_what_is_wrong_only_without_the_rows_that_are_set_aside_goes_with_them(night: Night) -> None:
    """And the last good version of a row stays only where it is good beside the others."""
    parent = "select id from {table} t where customer > 10 and customer not in (select id from {table})"
    shop(
        night,
        declared(f"[{{unique: email}}, {{sql: '{parent}'}}]", "{amount: {range: {min: 0}}}").replace(
            "orders:\n", "orders:\n    quarantine: rows\n"
        ),
        "UPDATE orders SET customer = 20 WHERE id = 30; UPDATE orders SET customer = 30 WHERE id = 40",
    )
    assert night.load("shop", "orders").quarantined == 0
    # 20 goes, so does 30 that refers to it, and 40 to that; 5 would keep an address that is another's by now.
    night.ask("shop", "DELETE FROM orders WHERE id = 20")
    night.ask("shop", "UPDATE orders SET amount = -1, email = 'new' WHERE id = 5")
    night.ask("shop", "UPDATE orders SET email = '5@example.org' WHERE id = 6")
    loaded = night.load("shop", "orders")
    assert {row for row, _ in quarantined(night)} == {5, 30, 40}
    gone = "SELECT count(*) FROM shop.orders WHERE id IN (5, 20, 30, 40)"
    assert (loaded.total, night.value("warehouse", gone)) == (96, 0)


def test_a_relationship_sets_aside_what_has_lost_its_counterpart(night: Night) -> None:
    to = "{relationship: {columns: customer, to: customer, to_columns: id}, quarantine: rows}"
    shop(night, declared(f"[{to}]").replace("customer: {}", "customer: {max_deleted: 50%}"))
    night.load("shop", "customer")
    night.load("shop", "orders")
    night.ask("shop", "DELETE FROM customer WHERE id = 3; UPDATE orders SET amount = 0 WHERE id IN (2, 5)")
    night.load("shop", "customer")
    loaded = night.load("shop", "orders")
    assert (loaded.total, loaded.quarantined) == (90, 10)
    assert night.value("warehouse", "SELECT count(*) FROM shop.orders WHERE customer = 3") == 0


def test_json_that_jsonb_refuses_is_kept_as_it_is(night: Night) -> None:
    shop(
        night,
        declared("[]", "{state: {accepted: {values: [closed], quarantine: rows}}}"),
        "ALTER TABLE orders ADD j json",
        """UPDATE orders SET state = 'closed', j = '{"a": "\\u0000", "a": 1}'""",
        "UPDATE orders SET state = 'open' WHERE id = 1",
    )
    assert night.load("shop", "orders").quarantined == 1
    kept = night.value("warehouse", "SELECT content->>'j' FROM quarantine.shop_orders")
    assert kept == '{"a": "\\u0000", "a": 1}'


def test_a_first_load_sets_rows_aside_too(night: Night) -> None:
    shop(
        night,
        declared("[]", "{amount: {range: {min: 0, quarantine: rows}}}"),
        "UPDATE orders SET amount = -1 WHERE id = 9",
    )
    loaded = night.load("shop", "orders")
    assert (loaded.total, loaded.quarantined) == (99, 1)
    night.ask("shop", "UPDATE orders SET amount = 1 WHERE id = 9")
    night.load("shop", "orders")
    assert not night.differing("shop", "orders")


@in_depth(
    ("checks", "columns", "statement", "told"),
    [
        ("[{rows: {min: 200}}]", "{}", "", "rows min: 100 rows, expected at least 200"),
        ("[{rows: {max: 50}}]", "{}", "", "rows max: 100 rows, expected at most 50"),
        (
            "[{unique: [email]}]",
            "{}",
            "UPDATE orders SET email = 'a' WHERE id < 3",
            "unique (email): 1 duplicated",
        ),
        (
            "[]",
            "{email: {null_rate: {max: 2%}}}",
            "UPDATE orders SET email = NULL WHERE id < 5",
            "4 of 100 rows (4.00%)",
        ),
        ("[]", "{amount: {range: {max: 99}}}", "", "amount max 99: 1 of 100 rows"),
        ("[{freshness: {column: made, max_age: 2 days}}]", "{}", "", "the newest is 2026-01-01"),
        (
            "[{relationship: {columns: [customer], to: customer, to_columns: [id]}}]",
            "{}",
            "UPDATE orders SET customer = 77 WHERE id = 1",
            "1 rows without a counterpart",
        ),
        ("[{sql: 'select * from {table} where amount > 98'}]", "{}", "", "2 rows, expected none"),
    ],
    quick=3,
)
def test_each_kind_of_check_holds_the_table_back_and_says_why(
    night: Night, checks: str, columns: str, statement: str, told: str
) -> None:
    shop(night, declared(checks, columns), *([statement] if statement else []))
    night.load("shop", "customer")
    assert told in held(night)
    recorded = (
        "SELECT count(*) FROM ops.check_result WHERE NOT passed AND level = 'error' AND value IS NOT NULL"
    )
    assert night.value("warehouse", recorded) == 1


@pytest.mark.parametrize(("type_", "later"), [("date", "infinity"), ("timestamptz", "2999-01-01")])
def test_a_date_in_the_future_makes_nothing_fresh(night: Night, type_: str, later: str) -> None:
    shop(
        night,
        declared("[{freshness: {column: made, max_age: 2 days}}]"),
        f"ALTER TABLE orders ALTER made TYPE {type_}",
        f"UPDATE orders SET made = '{later}' WHERE id = 1",
    )
    told = held(night)
    assert "freshness of made: the newest is 2026-01-01" in told
    assert "expected at most 2 days old" in told
    night.ask("shop", "UPDATE orders SET made = now() WHERE id = 2")
    assert night.load("shop", "orders").total == 100


@in_depth(
    ("checks", "columns", "what", "why"),
    [
        ("[]", "{amount: {range: {min: 0}}, email: {range: {max: 5}}}", "rule email max 5", "operator does"),
        ("[]", "{amount: {range: {min: lots}}}", "rule amount min lots", "invalid input syntax"),
        ("[{freshness: {column: email, max_age: 1 day}}]", "{}", "freshness check", "operator does not"),
        ("[{sql: 'select 1 / 0 from {table}'}]", "{}", "sql check", "division by zero"),
        (
            "[{relationship: {columns: email, to: customer, to_columns: id}}]",
            "{}",
            "relationship check",
            "operator does not",
        ),
    ],
    quick=2,
)
def test_what_cannot_be_looked_at_is_told_with_its_place(
    night: Night, checks: str, columns: str, what: str, why: str
) -> None:
    """It is declared as it cannot be meant: what the server says of that alone would help nobody."""
    shop(night, declared(checks, columns))
    night.load("shop", "customer")
    with pytest.raises(StepError) as raised:
        night.load("shop", "orders")
    told = str(raised.value)
    assert told.startswith(f"shop.orders: its {what} cannot be evaluated: {why}")
    assert "; its last good rows stay up; correct it under orders in sources/shop.yaml" in told


def test_a_warning_is_recorded_and_loads(night: Night) -> None:
    shop(night, declared("[{rows: {min: 200}, level: warn}]"))
    night.load("shop", "orders")
    assert night.ask(
        "warehouse", "SELECT level, passed FROM ops.check_result WHERE check_name = 'rows min'"
    ) == [("warn", False)]


def test_all_that_is_wrong_is_told_at_once(night: Night) -> None:
    shop(night, declared("[{rows: {min: 200}}]", "{amount: {range: {max: 99}}}"))
    told = held(night)
    assert "rows min" in told
    assert "amount max 99" in told


def test_a_rate_is_of_the_whole_table_also_when_little_changed(night: Night) -> None:
    """One empty value among one changed row is not 100 %."""
    shop(night, declared("[]", "{email: {null_rate: {max: 2%}}}"))
    night.load("shop", "orders")
    night.ask("shop", "UPDATE orders SET email = NULL WHERE id = 1")
    assert night.load("shop", "orders").updated == 1


def test_rows_are_compared_with_the_median_of_earlier_loads(night: Night) -> None:
    """One odd night does not become what the next is measured by."""
    shop(night, declared("[{rows: {change: 30%}}]").replace("orders:\n", "orders:\n    max_deleted: 100%\n"))
    night.load("shop", "orders")
    night.load("shop", "orders")
    night.ask("shop", "INSERT INTO orders SELECT n FROM generate_series(1000, 1029) AS n")
    night.load("shop", "orders")
    night.ask("shop", "INSERT INTO orders SELECT n FROM generate_series(2000, 2029) AS n")
    assert "160 rows instead of the usual 100 (60% off)" in held(night)


def test_a_failing_sql_check_with_the_key_sets_its_rows_aside(night: Night) -> None:
    shop(night, declared("[{sql: 'select id from {table} where amount > 98', quarantine: rows}]"))
    assert night.load("shop", "orders").quarantined == 2


def test_the_sql_of_a_check_can_only_compute(night: Night) -> None:
    shop(night, declared("[{sql: 'select * from {table} where pg_export_snapshot() is null'}]"))
    with pytest.raises(
        StepError, match=r"pg_catalog.pg_export_snapshot, which can do more .* sources/shop.ya"
    ):
        night.load("shop", "orders")


def test_the_sql_of_a_check_has_the_rights_of_an_analyst(night: Night) -> None:
    may = "has_schema_privilege($$ops$$, $$usage$$)"
    shop(night, declared(f"[{{sql: 'select * from {{table}} where {may} or id = 4', quarantine: rows}}]"))
    loaded = night.load("shop", "orders")
    assert (loaded.total, loaded.quarantined) == (99, 1)
    assert [row for row, _ in quarantined(night)] == [4]


@pytest.mark.parametrize(
    "asked",
    [
        # A view, and a type, of the analysts' own, in which a function of theirs tries to be the pipeline.
        "select * from {table} where (select may from mart.v) or id = 4",
        "select id::analyst.checked as id from {table} where id = 4",
    ],
)
def test_whatever_analysts_made_is_run_with_no_more_than_their_rights(night: Night, asked: str) -> None:
    (night.platform.analysts / "marts").mkdir()
    (night.platform.analysts / "marts" / "v.sql").write_text("select false as may")
    shop(night, declared(f"[{{sql: '{asked}', quarantine: rows}}]"))
    analyst = night.platform.database("warehouse") + "_analyst"
    night.ask(
        "warehouse",
        f"""
        SET ROLE {analyst};
        CREATE FUNCTION analyst.may() RETURNS bool LANGUAGE plpgsql AS $$
        BEGIN
            BEGIN EXECUTE 'RESET ROLE'; EXCEPTION WHEN OTHERS THEN NULL; END;
            PERFORM pg_catalog.set_config('search_path', 'analyst', false);
            RETURN pg_catalog.has_schema_privilege('ops', 'usage');
        END $$;
        CREATE VIEW mart.v AS SELECT analyst.may() AS may;
        CREATE DOMAIN analyst.checked AS int CHECK (NOT analyst.may());
        """,
    )
    loaded = night.load("shop", "orders")
    assert (loaded.total, loaded.quarantined) == (99, 1)
    assert [row for row, _ in quarantined(night)] == [4]


@pytest.mark.parametrize(
    ("gone", "back"),
    [
        ("ALTER ROLE {role} RENAME TO {role}_gone", "ALTER ROLE {role}_gone RENAME TO {role}"),
        # As before the first `pipeline migrate`, where somebody made the roles.
        ("REVOKE USAGE ON SCHEMA platform FROM {role}", "GRANT USAGE ON SCHEMA platform TO {role}"),
    ],
)
def test_without_a_role_for_analysts_no_sql_of_theirs_is_run(night: Night, gone: str, back: str) -> None:
    shop(night, declared("[{sql: 'select * from {table} where false'}]"))
    role = night.platform.database("warehouse") + "_analyst"
    night.ask("warehouse", gone.format(role=role))
    try:
        with pytest.raises(StepError, match="no role for analysts, as which its sql checks are run") as told:
            night.load("shop", "orders")
        assert not told.value.retryable, "no second try makes it"
    finally:
        night.ask("warehouse", back.format(role=role))


def test_an_sql_check_counts_rows_whatever_its_columns_are_called(night: Night) -> None:
    """A column that is called as the check's own query calls its rows is empty in all that it finds."""
    shop(
        night,
        declared("[{sql: 'select id, f from {table} where f is null'}]"),
        "ALTER TABLE orders ADD f int",
    )
    assert "100 rows, expected none" in held(night)
