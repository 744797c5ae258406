"""Types: what every type of every source ends as in the warehouse, held to be exactly what it was."""

import io
import json
from collections.abc import Iterator, Sequence

import pytest
from psycopg2 import sql

from pipeline import postgres
from pipeline.catalog import RelationKind
from pipeline.errors import StepError
from pipeline.loading.extracted import Extracted
from pipeline.postgres import Connection, snapshot
from pipeline.warehouse import shape, types
from pipeline.warehouse.shape import Column, Shape
from tests.support import every_type, majors
from tests.support.majors import Major
from tests.support.night import Night, next_run

pytestmark = pytest.mark.endurance

EVERY = sql.Identifier("public", "every")
# What a careless administrator may have set for a database, and what would change values on their way.
CARELESS = {
    "DateStyle": "German",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Asia/Kathmandu",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "xmloption": "document",
    "array_nulls": "off",
    "quote_all_identifiers": "on",
    "search_path": "personnel, public",
}
DECLARED = "source: {0}\ntables:\n  every: {{{1}}}\n  keyless: {{}}\n"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Major]]:
    """Every other major version that can be had, running."""
    folder = tmp_path_factory.mktemp("majors")
    started = {version: majors.started(version, folder / str(version)) for version in majors.binaries()}
    running: dict[int, Major] = {}
    try:
        for version, server in started.items():
            running[version] = server.__enter__()
        yield running
    finally:
        for version in running:
            started[version].__exit__(None, None, None)


@pytest.fixture
def sources(night: Night, servers: dict[int, Major]) -> Iterator[dict[str, Connection]]:
    """Sources on three or more majors, each with every type: their names, and connections to change them."""
    platform = night.platform
    opened = []
    with platform.connect("warehouse") as connection:
        own = connection.server_version // 10000
        _be_careless(connection)
    platform.source("own", every_type.script(own), DECLARED.format("own", ""))
    opened.append(("own", platform.connect("own")))
    for version, server in servers.items():
        name = f"pg{version}"
        with server.connect("postgres") as connection:
            xml = types._reads_xml(connection)
        script = every_type.script(version, xml=xml)
        database = server.source(platform, name, script, DECLARED.format(name, ""))
        opened.append((name, server.connect(database)))
    connections = {name: entered.__enter__() for name, entered in opened}
    for connection in connections.values():
        _be_careless(connection)
        _pin(connection)
    yield connections
    for _, entered in opened:
        entered.__exit__(None, None, None)


def _be_careless(connection: Connection) -> None:
    for name, value in CARELESS.items():
        postgres.rows(
            connection,
            sql.SQL("ALTER DATABASE {} SET {} = {}").format(
                sql.Identifier(connection.info.dbname),
                sql.SQL(name),
                sql.SQL(value) if name == "search_path" else sql.Literal(value),
            ),
        )


def _pin(connection: Connection) -> None:
    for name, value in postgres.SESSION.items():
        postgres.rows(connection, "SELECT set_config(%s, %s, false)", (name, value))


def _differing(
    source: Connection, warehouse: Connection, source_name: str, table: str, names: Sequence[str]
) -> list[str]:
    """Return the columns whose values, as text, are not the same values in the same number."""
    found = []
    relations = (source, sql.Identifier("public", table)), (warehouse, sql.Identifier(source_name, table))
    for name in names:
        # Not what the type writes, which for xml is less than it holds, but what it holds.
        query = sql.SQL('SELECT {}::text COLLATE "C", count(*) FROM {} GROUP BY 1 ORDER BY 1')
        values = [
            postgres.rows(connection, query.format(sql.Identifier(name), relation))
            for connection, relation in relations
        ]
        if values[0] != values[1]:
            found.append(name)
    return found


def _binary(connection: Connection, relation: sql.Identifier, name: str) -> bytes:
    written = io.BytesIO()
    query = sql.SQL("COPY (SELECT {} FROM {} ORDER BY id) TO STDOUT (FORMAT binary)")
    with connection.cursor() as cursor:
        cursor.copy_expert(query.format(sql.Identifier(name), relation), written)
    return written.getvalue()


def _assert_equal(night: Night, sources: dict[str, Connection]) -> None:
    with night.warehouse() as warehouse:
        _pin(warehouse)
        for name, source in sources.items():
            current = shape.read(source, "public", "every")
            for table in ("every", "keyless"):
                assert _differing(source, warehouse, name, table, current.names) == [], name
            for column, every in zip(current.columns[1:], _columns(source), strict=True):
                if every.comparable:
                    images = (
                        _binary(source, EVERY, column.name),
                        _binary(warehouse, sql.Identifier(name, "every"), column.name),
                    )
                    assert images[0] == images[1], (name, column.name)


def _columns(source: Connection) -> list[every_type.Every]:
    there = every_type.columns(source.server_version // 10000, xml=types._reads_xml(source))
    return [every for _, every in there]


def test_every_type_comes_over_exactly_from_several_majors_at_once(
    night: Night, sources: dict[str, Connection]
) -> None:
    """Every value equals its source's, as text and in binary form, after first load, increment and full load.

    A row that is read again and has not changed is not taken for changed, whatever types it has.
    """
    assert len({source.server_version // 10000 for source in sources.values()}) > 2
    for name in sources:
        assert night.load(name, "every").inserted == night.load(name, "keyless").inserted - 2
    _assert_equal(night, sources)
    for name, source in sources.items():
        postgres.rows(source, "UPDATE public.every SET id = id")
        total = postgres.value(source, "SELECT count(*) FROM public.every")
        again = night.load(name, "every")
        assert (again.inserted, again.updated, again.deleted, again.total) == (0, 0, 0, total), name
        assert not night.load(name, "keyless").changed, name
        # Every row takes another's values.
        names = shape.read(source, "public", "every").names[1:]
        postgres.rows(
            source,
            sql.SQL(
                "UPDATE public.every AS t SET ({0}) = (SELECT {0} FROM public.every AS f"
                " WHERE f.id = (t.id + 1) % (SELECT count(*) FROM public.every))"
            ).format(postgres.columns(names)),
        )
        postgres.rows(source, "DELETE FROM public.every WHERE id = 1")
        postgres.rows(source, "DELETE FROM public.keyless WHERE id = 2")
        postgres.rows(source, "INSERT INTO public.keyless SELECT * FROM public.every WHERE id = 3")
        changed, keyless = night.load(name, "every"), night.load(name, "keyless")
        assert (changed.updated, changed.deleted) == (total - 1, 1), name
        assert (keyless.inserted, keyless.deleted) == (1, 1), name
    _assert_equal(night, sources)
    for name in sources:
        night.platform.declare(name, DECLARED.format(name, "changes: full"))
        assert not night.load(name, "every").changed, name
    _assert_equal(night, sources)


def test_columns_end_as_the_type_that_is_promised(night: Night, sources: dict[str, Connection]) -> None:
    """A column has its own type in the warehouse, or text where that cannot be: no other surprise."""
    for name, source in sources.items():
        night.load(name, "every")
        found = night.ask(
            "warehouse",
            """
            SELECT format_type(atttypid, atttypmod) FROM pg_attribute
            WHERE attrelid = format('%%I.every', %s::text)::regclass AND attnum > 1 AND NOT attisdropped
              AND attname <> '_loaded_at' ORDER BY attnum
            """,
            (name,),
        )
        quoted = [type_.replace('"', "") for (type_,) in found]
        expected = [every.warehouse.replace("{s}", name).replace('"', "") for every in _columns(source)]
        assert quoted == expected, name


def _carry(source: Connection, warehouse: Connection, columns: Sequence[Column], form: str) -> sql.Identifier:
    """Copy columns of `every` into a new table of the warehouse in one form of COPY; return its name."""
    name = sql.Identifier("apart", form)
    definitions = [
        sql.SQL("{} {}").format(sql.Identifier(column.name), column.warehouse_type("apart"))
        for column in columns
    ]
    postgres.rows(warehouse, sql.SQL("CREATE TABLE {} ({})").format(name, sql.SQL(", ").join(definitions)))
    query = sql.SQL("SELECT {} FROM {}").format(
        sql.SQL(", ").join(column.expression() for column in columns), EVERY
    )
    options = sql.SQL("FORMAT {}").format(sql.SQL(form))
    postgres.copy(
        source,
        sql.SQL("COPY ({}) TO STDOUT ({})").format(query, options),
        warehouse,
        sql.SQL("COPY {} FROM STDIN ({})").format(name, options),
    )
    return name


def test_both_forms_of_copy_give_the_same_image(night: Night, sources: dict[str, Connection]) -> None:
    """Text and binary COPY lead to the same bytes in the warehouse, for every type said to be safe."""
    for name, source in sources.items():
        with night.warehouse() as warehouse:
            _pin(warehouse)
            fitted = types.fit(warehouse, shape.read(source, "public", "every"))
            assert fitted.binary, name
            types.ensure_types(warehouse, "apart", fitted)
            text = _carry(source, warehouse, fitted.columns, "text")
            safe = [column for column in fitted.columns if column.binary_safe]
            binary = _carry(source, warehouse, safe, "binary")
            for column in safe:
                query = sql.SQL(
                    "SELECT count(*) FROM {text} AS t JOIN {binary} AS b USING (id)"
                    " WHERE ROW(t.{column})::record *<> ROW(b.{column})::record"
                ).format(text=text, binary=binary, column=sql.Identifier(column.name))
                assert postgres.value(warehouse, query) == 0, (name, column.name)
            for column in fitted.columns:
                held = sql.SQL("SELECT {}::text FROM {} ORDER BY id")
                in_source = held.format(column.expression(), EVERY)
                again = column.expression() if column.warehouse_type("apart") != sql.SQL("text") else None
                loaded = held.format(again or sql.Identifier(column.name), text)
                assert postgres.rows(source, in_source) == postgres.rows(warehouse, loaded), (
                    name,
                    column.name,
                )
            postgres.rows(warehouse, "DROP SCHEMA apart CASCADE")


def test_types_of_users_go_in_binary_form(night: Night) -> None:
    """A table of enums, composites, domains and ranges takes the fast way, and comes over exactly."""
    night.platform.source(
        "shop",
        """
        CREATE TYPE size AS ENUM ('s', 'm'); CREATE DOMAIN price AS numeric(9,2);
        CREATE TYPE part AS (size size, prices price[]); CREATE TYPE span AS RANGE (SUBTYPE = float8);
        CREATE TABLE item (
            id integer PRIMARY KEY, size size, parts part[], price price, span span, paid money
        );
        INSERT INTO item VALUES (1, 's', ARRAY[ROW('m', '{1.50}')::part, NULL], 2.20, '[0.1,2)', '3.45');
        """,
        "source: shop\ntables:\n  item: {}\n",
    )
    run = next_run()
    night.load("shop", "item", run)
    step = night.step(run, "ExtractTable", "shop.item")
    read = Extracted.of(step)
    assert read is not None
    assert read.shape.copy_format == "binary"
    assert night.differing("shop") == []


def test_what_only_a_newer_server_knows_is_not_carried_in_binary(night: Night) -> None:
    """Of a source too new for its binary form to be known, text is read, which refuses what is strange."""
    night.platform.source("shop", "CREATE TABLE item (id integer)")
    with night.platform.connect("shop") as source, night.warehouse() as warehouse:
        known = types.fit(warehouse, shape.read(source, "public", "item"))
        assert known.copy_format == "binary"
        unknown = types.fit(warehouse, _of_server(known, 99))
        assert unknown.copy_format == "text"


def _of_server(known: Shape, server: int) -> Shape:
    return Shape.from_json({**known.to_json(), "server": server})


def test_a_shape_goes_through_json_whole(sources: dict[str, Connection]) -> None:
    """What identifies a type (labels, attributes, what it is made of) is kept with the shape."""
    for source in sources.values():
        read = shape.read(source, "public", "every")
        assert Shape.from_json(json.loads(json.dumps(read.to_json()))) == read


def test_the_statements_run_on_every_major(servers: dict[int, Major]) -> None:
    """What we ask a source for about itself is understood by every version of it."""
    for server in servers.values():
        with server.connect("postgres") as connection:
            taken = snapshot.take(connection)
            assert taken.next_transaction >= taken.horizon > 0
            read = shape.read(connection, "pg_catalog", "pg_namespace")
            assert read.server == server.version
            assert read.column("nspacl") is not None


# What a user changes.


def test_a_label_comes_where_the_source_has_it(night: Night) -> None:
    """An enum that grows at its beginning, in its middle and at its end sorts as it does in the source."""
    night.platform.source(
        "shop",
        """
        CREATE TYPE size AS ENUM ('m', 'xl');
        CREATE TABLE item (id integer PRIMARY KEY, size size, sizes size[]);
        INSERT INTO item VALUES (1, 'm', '{xl}');
        """,
        "source: shop\ntables:\n  item: {}\n",
    )
    night.load("shop", "item")
    with night.platform.connect("shop") as source, source.cursor() as cursor:
        for change in ("'xs' BEFORE 'm'", "'s' AFTER 'xs'", "'l' AFTER 'm'", "'xxl'", "'it''s'"):
            cursor.execute(f"ALTER TYPE size ADD VALUE {change}")
        cursor.execute(
            "INSERT INTO item SELECT 10 + n, s, ARRAY[s] FROM unnest(enum_range(NULL::size))"
            " WITH ORDINALITY AS e (s, n)"
        )
    night.load("shop", "item")
    ordered = "SELECT size::text FROM {}.item ORDER BY size, id"
    assert night.ask("warehouse", ordered.format("shop")) == night.ask("shop", ordered.format("public"))
    assert night.differing("shop") == []


CHANGES = {
    "an attribute more": (
        "CREATE TYPE part AS (a integer)",
        "ALTER TYPE part ADD ATTRIBUTE b text",
        "public.part (a integer, b text)",
        "shop.part (a integer)",
    ),
    "another type of an attribute": (
        "CREATE TYPE part AS (a varchar(5))",
        "ALTER TYPE part ALTER ATTRIBUTE a TYPE varchar(6)",
        "public.part (a character varying(6))",
        "shop.part (a character varying(5))",
    ),
    "labels in another order": (
        "CREATE TYPE part AS ENUM ('a', 'b')",
        "DROP TYPE part; CREATE TYPE part AS ENUM ('b', 'a')",
        "public.part (b, a)",
        "shop.part (a, b)",
    ),
    "another kind of type": (
        "CREATE TYPE part AS ENUM ('a', 'b')",
        "DROP TYPE part; CREATE TYPE part AS (a integer)",
        "public.part (a integer)",
        "shop.part (a, b)",
    ),
    "a range of something else": (
        "CREATE TYPE part AS RANGE (SUBTYPE = integer)",
        "DROP TYPE part; CREATE TYPE part AS RANGE (SUBTYPE = bigint, MULTIRANGE_TYPE_NAME = parts)",
        "public.part (range of bigint)",
        "shop.part (range of integer)",
    ),
}


@pytest.mark.parametrize(("before", "change", "new", "old"), CHANGES.values(), ids=CHANGES)
def test_a_type_that_changed_is_told_with_what_to_do(
    night: Night, before: str, change: str, new: str, old: str
) -> None:
    """Rows in a changed type are not forced into the old one; the advice that is given works."""
    night.platform.source("shop", f"{before}; CREATE TABLE item (id integer, part part)")
    with night.platform.connect("shop") as source, night.warehouse() as warehouse:
        _pin(source)
        first = shape.read(source, "public", "item")
        types.ensure_types(warehouse, "shop", first)
        types.ensure_types(warehouse, "shop", first)
        with source.cursor() as cursor:
            cursor.execute("DROP TABLE public.item")
            cursor.execute(f"SET search_path = public; {change}; CREATE TABLE item (id integer, part part)")
        _pin(source)
        changed = shape.read(source, "public", "item")
        with pytest.raises(StepError) as raised:
            types.ensure_types(warehouse, "shop", changed)
        assert f"its type {new} was made in the warehouse as {old}; run 'ALTER TYPE" in str(raised.value)
        assert "write 'type: text' under the column in sources/shop.yaml" in str(raised.value)
        warehouse.rollback()
        postgres.rows(warehouse, str(raised.value).split("'")[1])
        types.ensure_types(warehouse, "shop", changed)


def test_a_type_does_not_take_the_name_of_a_table(night: Night) -> None:
    """Two things of the source that would be called the same in the warehouse are told apart by a person."""
    night.platform.source(
        "shop",
        """
        CREATE SCHEMA other;
        CREATE TYPE public.item AS (a integer);
        CREATE TABLE other.item (id integer PRIMARY KEY);
        CREATE TABLE other.sale (id integer PRIMARY KEY, item public.item);
        """,
        "source: shop\ndefaults: {schema: other}\ntables:\n  item: {}\n  sale: {}\n",
    )
    night.load("shop", "item")
    with pytest.raises(StepError, match=r'would be called shop\."item" in the warehouse, where a table'):
        night.load("shop", "sale")


def test_names_too_long_for_postgresql_stay_apart(night: Night) -> None:
    """Two types whose names in the warehouse would be cut off at the same place are two types."""
    schema = "s" * 50
    night.platform.source(
        "shop",
        f"""
        CREATE SCHEMA {schema};
        CREATE TYPE {schema}.status_of_a_thing AS ENUM ('a');
        CREATE TYPE {schema}.status_of_a_person AS ENUM ('b');
        CREATE TABLE item (id integer, a {schema}.status_of_a_thing, b {schema}.status_of_a_person);
        INSERT INTO item VALUES (1, 'a', 'b');
        """,
        "source: shop\ntables:\n  item: {}\n",
    )
    night.load("shop", "item")
    assert night.differing("shop") == []


def test_a_column_can_be_text_by_choice(night: Night) -> None:
    """As text a type is not made in the warehouse, and its values are what the source writes for them."""
    night.platform.source("shop", "CREATE TYPE part AS (a integer, b text); CREATE TABLE item (part part)")
    with night.platform.connect("shop") as source, night.warehouse() as warehouse:
        (column,) = shape.read(source, "public", "item").columns
        chosen = Column(**{**column.__dict__, "as_text": True})
        assert chosen.warehouse_type("shop") == sql.SQL("text")
        assert chosen.expression().as_string(source) == '"part"::text'
        assert chosen.binary_safe
        types.ensure_types(warehouse, "shop", Shape(1, RelationKind.TABLE, (), (chosen,)))
        assert postgres.value(warehouse, "SELECT to_regtype('shop.part')") is None


EXTENSIONS = """
    CREATE SCHEMA tools; CREATE EXTENSION hstore SCHEMA tools; CREATE EXTENSION citext;
    CREATE EXTENSION ltree SCHEMA tools; CREATE EXTENSION cube;
    CREATE TYPE holder AS (h tools.hstore, name citext);
    CREATE TABLE every (
        id integer PRIMARY KEY, h tools.hstore, c citext, hs tools.hstore[], l tools.ltree, k cube,
        holder holder
    );
    INSERT INTO every VALUES
        (1, '"a b"=>"c\\"d",n=>NULL,""=>""', 'MiXed', ARRAY['a=>1'::tools.hstore, NULL], 'a.b',
         '(0.1,2),(3,4)', ROW('x=>"y, z"', 'Ö')),
        (2, '', '', '{}', '', NULL, NULL);
"""


@pytest.mark.parametrize("there", [True, False])
def test_types_of_extensions_are_used_where_the_warehouse_has_them(night: Night, *, there: bool) -> None:
    """hstore stays hstore, in whatever schema the warehouse has it, and is text where it has not."""
    night.platform.source("shop", EXTENSIONS)
    with night.platform.connect("shop") as source, night.warehouse() as warehouse:
        if there:
            postgres.rows(warehouse, 'CREATE SCHEMA "Ext"')
            for extension in ("hstore", "citext", "ltree", "cube"):
                postgres.rows(warehouse, f'CREATE EXTENSION {extension} SCHEMA "Ext"')
        _pin(source)
        _pin(warehouse)
        fitted = types.fit(warehouse, shape.read(source, "public", "every"))
        types.ensure_types(warehouse, "apart", fitted)
        written = [column.warehouse_type("apart").as_string(source) for column in fitted.columns]
        assert written == (
            [
                "integer",
                '"Ext"."hstore"',
                '"Ext"."citext"',
                '"Ext"."hstore"[]',
                '"Ext"."ltree"',
                '"Ext"."cube"',
                '"apart"."holder"',
            ]
            if there
            else ["integer", *["text"] * 6]
        )
        assert fitted.copy_format == ("text" if there else "binary")
        loaded = _carry(source, warehouse, fitted.columns, fitted.copy_format)
        values = sql.SQL("SELECT {} FROM {} ORDER BY id")
        texts = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in fitted.names)
        assert postgres.rows(source, values.format(texts, EVERY)) == postgres.rows(
            warehouse, values.format(texts, loaded)
        )


ODD_NAMES = (
    "select",
    "Mixed Case",
    "100%",
    "%s",
    "%(name)s",
    '"quoted"',
    "ünï ☃",
    "a'b",
    "a.b",
    "{}",
    "{0}",
    "t",
    "excluded",
    "s",
    "xmin_",
    "n",
    "content",
    "number",
    "_",
    "\\",
    "new\nline",
)


@pytest.mark.parametrize("key", [True, False])
def test_columns_may_be_called_anything(night: Night, *, key: bool) -> None:
    """No name is taken for SQL, for a parameter of the driver or for one of our own names."""
    listed = ", ".join('"{}" text'.format(name.replace('"', '""')) for name in ODD_NAMES)
    values = ", ".join("'x'" for _ in ODD_NAMES)
    primary = 'PRIMARY KEY ("%s", "select")' if key else "CHECK (true)"
    night.platform.source(
        "shop",
        f"CREATE TABLE item ({listed}, {primary}); INSERT INTO item VALUES ({values})",
        "source: shop\ntables:\n  item: {}\n",
    )
    night.load("shop", "item")
    with night.platform.connect("shop") as source, source.cursor() as cursor:
        cursor.execute("UPDATE public.item SET \"100%\" = 'y'")
        cursor.execute(f"INSERT INTO public.item VALUES ({values.replace('x', 'z')})")
    assert night.load("shop", "item").inserted
    assert night.differing("shop") == []


def test_as_many_columns_as_there_can_be(night: Night) -> None:
    """A table of fifteen hundred columns is loaded, merged and compared like any other."""
    listed = ", ".join(f"c{number} smallint DEFAULT {number}" for number in range(1499))
    night.platform.source(
        "shop",
        f"CREATE TABLE item (id integer PRIMARY KEY, {listed}); INSERT INTO item VALUES (1), (2);",
        "source: shop\ntables:\n  item: {}\n",
    )
    night.load("shop", "item")
    night.ask("shop", "UPDATE public.item SET c1498 = NULL WHERE id = 2 RETURNING id")
    assert night.load("shop", "item").updated == 1
    assert night.differing("shop") == []


def test_a_table_of_no_columns_keeps_its_rows(night: Night) -> None:
    """Rows without any column are rows: there are as many in the warehouse."""
    night.platform.source(
        "shop",
        "CREATE TABLE item (); INSERT INTO item SELECT FROM generate_series(1, 3)",
        "source: shop\ntables:\n  item: {}\n",
    )
    assert night.load("shop", "item").total == 3
    night.ask("shop", "INSERT INTO public.item SELECT FROM generate_series(1, 2) RETURNING 1")
    assert night.load("shop", "item").total == 5


def test_generated_and_identity_columns_are_values(night: Night, servers: dict[int, Major]) -> None:
    """What the source computes, stored or when it is asked, and what it counts comes as the value there."""
    script = """
        CREATE TABLE item (id bigint GENERATED ALWAYS AS IDENTITY (START 7) PRIMARY KEY, a integer,
                           twice integer GENERATED ALWAYS AS (a * 2) {});
        INSERT INTO item (a) VALUES (1), (NULL);
    """
    declared = "source: shop\ntables:\n  item: {}\n"
    newest = max(servers)
    assert newest >= 18
    database = servers[newest].source(night.platform, "shop", script.format("VIRTUAL"), declared)
    night.platform.source("other", script.format("STORED"), declared.replace("shop", "other"))
    for name in ("shop", "other"):
        night.load(name, "item")
        rows = night.ask("warehouse", f"SELECT id, a, twice FROM {name}.item ORDER BY id")
        assert rows == [(7, 1, 2), (8, None, None)], name
    with servers[newest].connect(database) as source:
        postgres.rows(source, "UPDATE public.item SET a = 5 WHERE id = 8")
    assert night.load("shop", "item").updated == 1
    assert night.value("warehouse", "SELECT twice FROM shop.item WHERE id = 8") == 10
