"""The warehouse's roles: each may what the guide's table says, and nothing else."""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psycopg2
import pytest

from pipeline import access, postgres
from pipeline.catalog.source_files.relations import PLATFORM
from pipeline.ledger import migrations
from pipeline.sandbox import provision
from pipeline.sandbox.servers import clusters
from pipeline.warehouse import roles
from tests.support.night import Night
from tests.support.platforms import Connection, Platform

GUIDE = Path(__file__).parents[2] / "docs" / "roles.md"
DEPARTMENT = """
    CREATE TABLE department (id int PRIMARY KEY, name text, secret text);
    INSERT INTO department VALUES (1, 'a', 'b');
"""
DECLARED = (
    "source: hr\ntables: {department: {columns: {secret: {mask: exclude}}, checks: [rows: {min: 1}]}}\n"
)
# A table in each schema of which the guide speaks, as `pipeline migrate` and a load leave them.
TABLES = {
    "the tables of a source, such as `hr`": ("hr", "department"),
    "`mart`": ("mart", "thing"),
    "`analyst`": ("analyst", "thing"),
    "`staging`": ("staging", "thing"),
    "`quarantine`": ("quarantine", "thing"),
    "`ops`": ("ops", "watermark"),
    "`platform`": ("platform", "tables"),
}


def guide() -> list[tuple[str, str, str]]:
    """Return each cell of the guide's table: what, which group, and what that may."""
    lines = [line for line in GUIDE.read_text().splitlines() if line.startswith("|")]
    header, _, *body = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    groups = [re.sub("`|warehouse_", "", cell) for cell in header[1:]]
    return [(row[0], group, cell) for row in body for group, cell in zip(groups, row[1:], strict=True)]


@pytest.fixture
def loaded(night: Night) -> Night:
    """A warehouse with a table of each kind, those of `migrate`'s default privileges made after it."""
    night.platform.source("hr", DEPARTMENT, DECLARED)
    night.load("hr", "department")
    with as_role(night, f"{night.platform.prefix}_pipeline") as pipeline:
        for schema in ("mart", "staging", "quarantine"):
            postgres.rows(pipeline, f"CREATE TABLE {schema}.thing (id int)")
    with as_group(night, "analyst") as analyst:
        postgres.rows(analyst, "CREATE TABLE analyst.thing (id int)")
        postgres.rows(analyst, "CREATE TABLE mart.by_hand (id int)")
    # What is in the closed schemas by now is covered once `migrate` has run again.
    assert keep(night) is None
    return night


def keep(night: Night) -> str | None:
    with access.opened(night.settings) as databases, databases.warehouse() as warehouse:
        return roles.keep(warehouse, migrations.LOCK)


@contextmanager
def as_role(night: Night, role: str) -> Iterator[Connection]:
    with night.warehouse() as connection:
        postgres.rows(connection, f'SET SESSION AUTHORIZATION "{role}"')
        yield connection


def as_group(night: Night, group: str) -> AbstractContextManager[Connection]:
    return as_role(night, f"{night.platform.database('warehouse')}_{group}")


def may(connection: Connection, statement: str) -> bool:
    """Whether the role is let; what it does is undone."""
    postgres.rows(connection, "BEGIN")
    try:
        postgres.rows(connection, statement)
    except (psycopg2.errors.InsufficientPrivilege, psycopg2.errors.WrongObjectType):
        return False  # a view cannot be truncated, by nobody
    finally:
        postgres.rows(connection, "ROLLBACK")
    return True


def test_each_role_may_what_the_guide_says_and_nothing_else(loaded: Night) -> None:
    told = guide()
    assert len(told) == len(TABLES) * 3
    wrong = []
    for what, group, cell in told:
        schema, table = TABLES[what]
        allowed = set() if cell == "nothing" else set(cell.split(", "))
        with as_group(loaded, group) as connection:
            tried = {
                "read": may(connection, f"SELECT 1 FROM {schema}.{table}"),
                "write": may(connection, f"DELETE FROM {schema}.{table}"),
                "make": may(connection, f"CREATE TABLE {schema}.made (id int)"),
            }
            others = [f"INSERT INTO {schema}.{table} DEFAULT VALUES", f"TRUNCATE {schema}.{table}"]
            if "write" not in allowed and any(may(connection, statement) for statement in others):
                wrong.append(f"{group} changes {what}")
        if {verb for verb, let in tried.items() if let} != allowed:
            wrong.append(f"{what}: {group}: {cell}, but {tried}")
    assert not wrong, wrong


def test_the_columns_that_cards_are_judged_by_are_those_of_the_platforms_views(loaded: Night) -> None:
    found = loaded.ask(
        "warehouse",
        """
        SELECT table_schema || '.' || table_name, array_agg(column_name::text ORDER BY ordinal_position)
        FROM information_schema.columns WHERE table_schema = 'platform' GROUP BY 1
        """,
    )
    assert {name: tuple(columns) for name, columns in found} == PLATFORM


def test_what_reads_for_dashboards_reads_marts_and_the_platform_and_cannot_write(loaded: Night) -> None:
    with access.opened(loaded.settings) as databases, databases.dashboards() as connection:
        assert postgres.rows(connection, "SELECT name, rows FROM platform.tables") == [("hr.department", 1)]
        assert may(connection, "SELECT * FROM mart.by_hand")
        assert not may(connection, "SELECT * FROM hr.department")
        with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
            postgres.rows(connection, "CREATE TEMPORARY TABLE mine (id int)")


def test_a_mart_made_by_hand_is_for_dashboards_too(loaded: Night) -> None:
    with as_group(loaded, "dashboards") as dashboards:
        assert may(dashboards, "SELECT * FROM mart.by_hand")


def test_a_table_that_gets_another_shape_is_still_for_analysts_and_who_was_let_in(loaded: Night) -> None:
    """Its new table is made elsewhere, where other privileges hold."""
    group = f"{loaded.platform.database('warehouse')}_dashboards"
    loaded.ask("warehouse", f"GRANT USAGE ON SCHEMA hr TO {group}; GRANT SELECT ON hr.department TO {group}")
    loaded.ask("hr", "ALTER TABLE department ALTER id TYPE text")
    loaded.platform.declare("hr", DECLARED.replace("columns:", "drift: {type: refresh}, columns:"))
    loaded.load("hr", "department")
    assert loaded.value("warehouse", "SELECT pg_typeof(id)::text FROM hr.department") == "text"
    for name in ("analyst", "dashboards"):
        with as_group(loaded, name) as connection:
            assert may(connection, "SELECT * FROM hr.department"), name


def test_what_is_masked_is_in_nobodys_reach(loaded: Night) -> None:
    query = "SELECT attname FROM pg_attribute WHERE attrelid = 'hr.department'::regclass AND attnum > 0"
    with as_group(loaded, "analyst") as analyst:
        assert postgres.rows(analyst, query) == [("id",), ("name",), ("_loaded_at",)]


def test_migrate_takes_back_what_was_granted_where_analysts_have_no_business(loaded: Night) -> None:
    group = f"{loaded.platform.database('warehouse')}_analyst"
    loaded.ask(
        "warehouse", f"GRANT USAGE ON SCHEMA quarantine TO {group}; GRANT USAGE ON SCHEMA ops TO PUBLIC"
    )
    loaded.ask("warehouse", f"REVOKE ALL ON hr.department FROM {group}")
    keep(loaded)
    with as_group(loaded, "analyst") as analyst:
        assert not may(analyst, "SELECT * FROM quarantine.thing")
        assert not may(analyst, "SELECT * FROM ops.run")
        assert may(analyst, "SELECT * FROM hr.department")


@contextmanager
def without_groups(platform: Platform) -> Iterator[None]:
    """Begin as with a server on which nobody has made a role yet."""
    database = platform.database("warehouse")
    with clusters.connection(platform.sandbox.home, provision.WAREHOUSE, database) as connection:
        for group in ("loader", "analyst", "dashboards"):
            postgres.rows(connection, f"DROP OWNED BY {database}_{group}")
            postgres.rows(connection, f"DROP ROLE {database}_{group}")
    yield


def test_without_the_right_to_make_roles_migrate_says_what_to_type(platform: Platform) -> None:
    night, database = Night(platform), platform.database("warehouse")
    with without_groups(platform):
        ended = night.run("migrate")
    assert ended.code == 0, ended.err
    (line,) = [line for line in ended.out.splitlines() if "roles" in line]
    typed = line.partition("run in the warehouse: ")[2].partition("; then type")[0]
    assert typed.count("CREATE ROLE") == 3
    night.ask("warehouse", typed)
    ended = night.run("migrate")
    assert (ended.code, "CREATE ROLE" in ended.out) == (0, False)
    with as_group(night, "analyst") as analyst:
        assert may(analyst, "CREATE TABLE mart.made (id int)")
    query = "SELECT rolcanlogin FROM pg_roles WHERE rolname = %s"
    assert night.value("warehouse", query, (f"{database}_analyst",)) is False


def test_with_the_right_to_make_roles_migrate_makes_them(platform: Platform) -> None:
    night = Night(platform)
    with without_groups(platform):
        night.ask("warehouse", f"ALTER ROLE {platform.prefix}_pipeline CREATEROLE")
        ended = night.run("migrate")
    assert (ended.code, "CREATE ROLE" in ended.out) == (0, False), ended
    with as_group(night, "analyst") as analyst:
        assert may(analyst, "CREATE TABLE mart.made (id int)")


def test_the_login_of_marts_is_an_analyst_and_no_more(night: Night) -> None:
    with access.opened(night.settings) as databases, databases.analyst() as connection:
        connection.autocommit = True
        assert not may(connection, "SELECT * FROM ops.run")
        assert not may(connection, f"SET ROLE {night.platform.prefix}_pipeline")
        assert may(connection, "CREATE VIEW mart.made AS SELECT 1 AS a")
