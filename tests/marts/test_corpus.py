"""Whatever people write: what the parser finds that a mart reads is exactly what the server says."""

import pytest

from pipeline import postgres
from pipeline.catalog import origins, queries
from pipeline.sandbox.home import PROJECT
from tests.marts.corpus import MARTS, TABLES
from tests.support.night import Night
from tests.support.platforms import Connection

# Each takes seconds.
pytestmark = pytest.mark.endurance

EVERYTHING = "*"
EXAMPLE, SOURCES = PROJECT / "examples" / "analysts", PROJECT / "pipeline" / "sandbox" / "sql"


def test_what_a_mart_reads_by_the_parser_is_what_it_reads_by_the_server(night: Night) -> None:
    assert len(MARTS) >= 100
    wrong = {}
    with night.warehouse() as connection:
        for schema, tables in TABLES.items():
            postgres.rows(connection, f"CREATE SCHEMA {schema}")
            for table, columns in tables.items():
                postgres.rows(connection, f'CREATE TABLE {schema}."{table}" ({columns})')
        postgres.rows(connection, "SET search_path = pg_catalog")
        for name, text in MARTS.items():
            told = _difference(connection, text)
            if told:
                wrong[name] = told
    assert not wrong


def _difference(connection: Connection, text: str) -> str:
    try:
        query = queries.parse(text)
    except queries.QueryError as error:
        return f"is refused: {error.problem}"
    try:
        postgres.rows(connection, f"CREATE TEMP VIEW corpus AS\n{text}\n")
    except postgres.Error as error:
        return f"the server refuses it: {error}"
    oid = postgres.value(connection, "SELECT 'pg_temp.corpus'::regclass::oid::bigint")
    found = postgres.rows(connection, postgres.statement("marts/view_reads"), (oid,))
    postgres.rows(connection, "DROP VIEW pg_temp.corpus")
    server, parser = {str(relation) for relation, _ in found}, {str(one) for one in query.relations}
    if server != parser:
        return f"server {sorted(server)}, parser {sorted(parser)}"
    columns = {column for _, names in found for column in names or ()}
    # A star, a whole row and a natural join name no column; what is not a column of what is read is its own.
    there = {
        name
        for (name,) in postgres.rows(
            connection,
            "SELECT DISTINCT attname::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
            " WHERE attnum > 0 AND relnamespace::regnamespace || '.' || relname = ANY (%s)",
            (sorted(server),),
        )
    }
    named, unnamed = set(query.columns) & there, EVERYTHING in query.columns
    if unnamed or any(word in text for word in ("NATURAL", "row_to_json", "SELECT f AS r")):
        extra = named - columns
        return f"the parser has the columns {sorted(extra)} besides" if extra else ""
    return "" if named == columns else f"columns: server {sorted(columns)}, parser {sorted(named)}"


def test_what_the_marts_of_the_example_read_is_what_they_read_by_the_server(night: Night) -> None:
    files = sorted((EXAMPLE / "marts").glob("*.sql"))
    for path in sorted((EXAMPLE / "sources").glob("*.yaml")):
        schema, made = path.stem, (SOURCES / f"{path.stem}.sql").read_text()
        with night.warehouse() as connection:
            postgres.rows(connection, f"CREATE SCHEMA {schema}; SET search_path = {schema}")
            postgres.rows(connection, made.replace("public.", f"{schema}."))
            add = "SELECT format('ALTER TABLE %%s ADD _loaded_at timestamptz', oid::regclass) FROM pg_class"
            of = " WHERE relkind = 'r' AND relnamespace = %s::regnamespace"
            for (statement,) in postgres.rows(connection, add + of, (schema,)):
                postgres.rows(connection, statement)
    with night.warehouse() as connection:
        postgres.rows(connection, "SET search_path = pg_catalog")
        wrong = {path.stem: told for path in files if (told := _difference(connection, path.read_text()))}
    assert (wrong, len(files)) == ({}, 8)


def test_columns_that_a_mart_is_said_to_be_computed_of_are_among_those_that_it_reads(night: Night) -> None:
    """By the server's account; what the SQL alone does not tell is said to be so, and not guessed."""
    wrong = {}
    with night.warehouse() as connection:
        for schema, tables in TABLES.items():
            postgres.rows(connection, f"CREATE SCHEMA {schema}")
            for table, columns in tables.items():
                postgres.rows(connection, f'CREATE TABLE {schema}."{table}" ({columns})')
        postgres.rows(connection, "SET search_path = pg_catalog")
        for name, text in MARTS.items():
            postgres.rows(connection, f"CREATE TEMP VIEW corpus AS\n{text}\n")
            oid = postgres.value(connection, "SELECT 'pg_temp.corpus'::regclass::oid::bigint")
            found = postgres.rows(connection, postgres.statement("marts/view_reads"), (oid,))
            postgres.rows(connection, "DROP VIEW pg_temp.corpus")
            read = {
                f"{relation}.{column}" for relation, columns in found for column in (*(columns or ()), "*")
            }
            said = {origin for _, known in origins.traced(text) or () for origin in known}
            if guessed := said - read - {origins.UNKNOWN}:
                wrong[name] = (sorted(guessed), sorted(read))
    assert not wrong


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 'site.auth_user'::regclass::text AS a",
        "SELECT a FROM (SELECT 'site.auth_user'::regclass AS a) x",
    ],
)
def test_a_name_in_a_string_is_seen_by_the_server_alone(night: Night, text: str) -> None:
    """So it is an error when the mart is built."""
    with night.warehouse() as connection:
        postgres.rows(connection, "CREATE SCHEMA site; CREATE TABLE site.auth_user (id int)")
        postgres.rows(connection, f"CREATE TEMP VIEW corpus AS {text}")
        oid = postgres.value(connection, "SELECT 'pg_temp.corpus'::regclass::oid::bigint")
        found = postgres.rows(connection, postgres.statement("marts/view_reads"), (oid,))
    assert [relation for relation, _ in found] == ["site.auth_user"]
    assert queries.parse(text).relations == ()
