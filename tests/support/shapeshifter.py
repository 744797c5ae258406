"""A source table that changes its rows and its shape at random, for tests of properties.

What is drawn decides what is done; each statement that was run is kept, so that a failure can be read and
repeated by hand.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg2
from hypothesis import strategies as st
from psycopg2 import sql

from pipeline import postgres
from tests.support.platforms import Connection

SCHEMA = """
    CREATE SCHEMA {schema};
    GRANT USAGE ON SCHEMA {schema} TO {reader};
    CREATE TYPE {schema}.mood AS ENUM ('calm', 'cross');
    CREATE DOMAIN {schema}.share AS numeric(5,2) CHECK (VALUE >= 0);
    CREATE TYPE {schema}.pair AS (a int, b text);
    CREATE FUNCTION {schema}.touched() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN NEW.touched_at := clock_timestamp(); RETURN NEW; END';
"""
# Values of each type, as SQL. None of the texts is one that a regular expression of ours could stumble over.
VALUES: dict[str, Sequence[str]] = {
    "smallint": ("0", "-1", "32767"),
    "integer": ("0", "7", "-2147483648"),
    "bigint": ("0", "9", "9223372036854775807"),
    "numeric": ("1", "1.0", "1.00", "'NaN'", "123456789012345678901234567890.5"),
    "numeric(8,2)": ("1", "0.25", "99999.99", "-3.10"),
    "numeric(12,4)": ("1", "0.2525", "99999.9999"),
    "double precision": ("0.1", "'NaN'", "'-0'", "1e300"),
    "boolean": ("true", "false"),
    "text": ("''", "'x'", "E'a\\tb\\nc\\\\N'", "'NULL'", "'ünï ☃'", "repeat('long ', 900)", "'\"{,}'"),
    "character varying(20)": ("''", "'twenty letters at mos'::varchar(20)", "' x '"),
    "character varying(40)": ("''", "'more than twenty letters here'"),
    "timestamp with time zone": ("'infinity'", "'2026-03-29 01:30+00'", "'0044-03-15 12:00+00 BC'"),
    "date": ("'2026-02-28'", "'-infinity'"),
    "interval": ("'1 mon -1 day 00:00:01'", "'0'"),
    "jsonb": ("'{\"a\": [1, null]}'", "'null'", "'1.0'"),
    "json": ('\'{"b": 1,  "a": 2}\'', "'null'"),
    "integer[]": ("'{}'", "'{1,NULL}'", "'[2:3]={1,2}'", "'{{1,2},{3,4}}'"),
    "text[]": ("'{}'", "ARRAY['a,b', '\"', NULL, 'NULL', '']"),
    "uuid": ("'00000000-0000-0000-0000-000000000001'",),
    "bytea": ("''", "'\\x00ff5c'"),
    "public.mood": ("'calm'", "'cross'"),
    "public.mood[]": ("'{calm,NULL}'",),
    "public.share": ("1", "0.25"),
    "public.pair": ("ROW(1, 'a,b')", "ROW(NULL, NULL)"),
    "int4range": ("'[1,5)'", "'empty'"),
}
WIDER = {
    "smallint": "integer",
    "integer": "bigint",
    "bigint": "numeric",
    "numeric(8,2)": "numeric(12,4)",
    "numeric(12,4)": "numeric",
    "character varying(20)": "character varying(40)",
    "character varying(40)": "text",
}
NAMES = ("plain", "Mixed Case", "select", "100%", '"q"', "ünï", "a.b", "{0}", "tab\tin", "%(x)s", "t", "n")
# They stay: one tells rows apart, one is the cursor.
FIXED = ("id", "code", "touched_at")


@dataclass
class Shapeshifter:
    """One table of a source, in a schema of its own, as it is now."""

    source: Connection
    draw: Callable[[st.SearchStrategy[Any]], Any]
    schema: str
    reader: str
    key: list[str]
    name: str = "item"
    columns: dict[str, str] = field(default_factory=dict)
    script: list[str] = field(default_factory=list)
    numbers: int = 0
    labels: int = 0

    @property
    def relation(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)

    def run(self, statement: str, *parts: sql.Composable) -> None:
        """Run a statement in which `{}` stand for quoted parts, unless the rows do not allow it."""
        text = sql.SQL(statement).format(*parts).as_string(self.source) if parts else statement
        with self.source.cursor() as cursor:
            try:
                cursor.execute(text)
            except (psycopg2.IntegrityError, psycopg2.DataError):
                return
        self.script.append(text)

    def choose(self, among: Sequence[Any]) -> Any:
        return self.draw(st.sampled_from(list(among)))

    def free_columns(self) -> list[str]:
        return [name for name in self.columns if name not in FIXED and name not in self.key]

    def new_name(self) -> str | None:
        unused = [name for name in NAMES if name not in self.columns]
        return self.choose(unused) if unused else None

    # Made, and made anew.

    def create(self) -> None:
        types = list(VALUES)
        self.columns = {"id": "integer", "code": "text", "touched_at": "timestamp with time zone"}
        for name in self.draw(st.lists(st.sampled_from(NAMES), max_size=5, unique=True)):
            self.columns[name] = self.choose(types)
        self.run(SCHEMA.format(schema=self.schema, reader=self.reader))
        self._create(self.name)
        self.insert()

    def typed(self, type_: str) -> sql.Composable:
        return sql.SQL(type_.replace("public.", f"{self.schema}."))

    def _create(self, name: str) -> None:
        relation = sql.Identifier(self.schema, name)
        listed = [
            sql.SQL("{} {}").format(sql.Identifier(column), self.typed(type_))
            for column, type_ in self.columns.items()
        ]
        if self.key:
            listed.append(sql.SQL("PRIMARY KEY ({})").format(postgres.columns(self.key)))
        self.run("CREATE TABLE {} ({})", relation, sql.SQL(", ").join(listed))
        self.run(
            "CREATE TRIGGER touched BEFORE INSERT OR UPDATE ON {} FOR EACH ROW EXECUTE FUNCTION {}()",
            relation,
            sql.Identifier(self.schema, "touched"),
        )
        self.run("GRANT SELECT ON {} TO {}", relation, sql.Identifier(self.reader))

    def recreate(self) -> None:
        """As a restore of an older copy does: another table of the same name, perhaps in another order."""
        order = self.draw(st.permutations(list(self.columns)))
        self.columns = {name: self.columns[name] for name in order}
        new = f"{self.name}_new"
        self._create(new)
        self.run("ALTER TABLE {} DISABLE TRIGGER touched", sql.Identifier(self.schema, new))
        listed = postgres.columns(list(self.columns))
        self.run(
            "INSERT INTO {} ({}) SELECT {} FROM {} WHERE id % 4 <> {}",
            sql.Identifier(self.schema, new),
            listed,
            listed,
            self.relation,
            sql.Literal(self.draw(st.integers(0, 4))),
        )
        self.run("ALTER TABLE {} ENABLE TRIGGER touched", sql.Identifier(self.schema, new))
        self.run("DROP TABLE {}", self.relation)
        self.run("ALTER TABLE {} RENAME TO {}", sql.Identifier(self.schema, new), sql.Identifier(self.name))

    # Rows.

    def value(self, type_: str) -> sql.Composable:
        pool = VALUES[type_]
        extra = [f"'new {n}'" for n in range(self.labels)] if type_ == "public.mood" else []
        return sql.SQL(self.choose([*pool, *extra, "NULL"]))

    def insert(self) -> None:
        names = list(self.columns)
        for _ in range(self.draw(st.integers(1, 6))):
            self.numbers += 1
            own: dict[str, sql.Composable] = {
                "id": sql.Literal(self.numbers),
                "code": sql.Literal(f"c{self.numbers % 5}"),
                "touched_at": sql.SQL("NULL"),
            }
            values: list[sql.Composable] = [
                own.get(name) or self.value(type_) for name, type_ in self.columns.items()
            ]
            self.run(
                "INSERT INTO {} ({}) VALUES ({})",
                self.relation,
                postgres.columns(names),
                sql.SQL(", ").join(values),
            )

    def update(self) -> None:
        free = self.free_columns()
        if free:
            name = self.choose(free)
            self.run(
                "UPDATE {} SET {} = {} WHERE id % 3 = {}",
                self.relation,
                sql.Identifier(name),
                self.value(self.columns[name]),
                sql.Literal(self.draw(st.integers(0, 2))),
            )

    def update_nothing(self) -> None:
        """As an application does that saves everything."""
        self.run("UPDATE {} SET code = code", self.relation)

    def delete(self) -> None:
        self.run("DELETE FROM {} WHERE id % 4 = {}", self.relation, sql.Literal(self.draw(st.integers(0, 3))))

    def replace_rows(self) -> None:
        """As many go as come: their number alone tells nothing."""
        self.run("DELETE FROM {} WHERE id = (SELECT min(id) FROM {})", self.relation, self.relation)
        self.numbers += 1
        self.run("INSERT INTO {} (id, code) VALUES ({}, 'r')", self.relation, sql.Literal(self.numbers))

    def truncate(self) -> None:
        self.run("TRUNCATE {}", self.relation)

    def change_key_values(self) -> None:
        self.numbers += 1
        self.run(
            "UPDATE {} SET id = {} WHERE id = (SELECT min(id) FROM {})",
            self.relation,
            sql.Literal(self.numbers),
            self.relation,
        )

    def rewrite(self) -> None:
        """What changes no row, but moves all of them."""
        self.run("VACUUM FULL {}", self.relation)

    # Shape.

    def alter(self, change: str, *parts: sql.Composable) -> None:
        self.run("ALTER TABLE {} " + change, self.relation, *parts)

    def add(self) -> None:
        name = self.new_name()
        if name is None:
            return
        type_ = self.choose(list(VALUES))
        how = self.choose(["nullable", "default", "default that goes again", "not null"])
        column, value = sql.Identifier(name), self.value(type_)
        before = len(self.script)
        if how == "nullable":
            self.alter("ADD COLUMN {} {}", column, self.typed(type_))
        else:
            null = " NOT NULL" if how == "not null" else ""
            self.alter("ADD COLUMN {} {} DEFAULT {}" + null, column, self.typed(type_), value)
        if len(self.script) == before:
            return
        self.columns[name] = type_
        if how == "default that goes again":
            self.alter("ALTER COLUMN {} DROP DEFAULT", column)
        if how == "not null":
            self.alter("ALTER COLUMN {} DROP NOT NULL", column)

    def drop(self) -> None:
        free = self.free_columns()
        if free:
            name = self.choose(free)
            self.alter("DROP COLUMN {}", sql.Identifier(name))
            del self.columns[name]

    def rename(self) -> None:
        free, new = self.free_columns(), self.new_name()
        if free and new:
            self._rename(self.choose(free), new)

    def _rename(self, old: str, new: str) -> None:
        self.alter("RENAME COLUMN {} TO {}", sql.Identifier(old), sql.Identifier(new))
        self.columns = {new if name == old else name: type_ for name, type_ in self.columns.items()}

    def swap_names(self) -> None:
        free = self.free_columns()
        if len(free) > 1:
            one, other = free[0], free[-1]
            self._rename(one, "between")
            self._rename(other, one)
            self._rename("between", other)

    def widen(self) -> None:
        self._retype({name: WIDER[type_] for name, type_ in self.columns.items() if type_ in WIDER})

    def narrow(self) -> None:
        narrower = {wide: type_ for type_, wide in WIDER.items()}
        free = self.free_columns()
        self._retype({name: narrower[self.columns[name]] for name in free if self.columns[name] in narrower})

    def retype(self) -> None:
        self._retype({name: "text" for name in self.free_columns() if self.columns[name] != "text"})

    def _retype(self, possible: dict[str, str]) -> None:
        if possible:
            name = self.choose(list(possible))
            column, type_ = sql.Identifier(name), sql.SQL(possible[name])
            before = len(self.script)
            self.alter("ALTER COLUMN {} DROP DEFAULT", column)
            self.alter("ALTER COLUMN {} TYPE {} USING {}::text::{}", column, type_, column, type_)
            if len(self.script) == before + 2:
                self.columns[name] = possible[name]

    def change_key(self) -> None:
        if self.key:
            query = "SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'p'"
            named = postgres.value(self.source, query, (f"{self.schema}.{self.name}",))
            self.alter("DROP CONSTRAINT {}", sql.Identifier(named))
        self.key = self.choose([["id"], ["id", "code"], ["code", "id"]])
        self.alter(
            "ADD CONSTRAINT {} PRIMARY KEY ({})",
            sql.Identifier(f"{self.name}_pkey"),
            postgres.columns(self.key),
        )

    def nullable(self) -> None:
        free = self.free_columns()
        if free:
            self.alter("ALTER COLUMN {} SET NOT NULL", sql.Identifier(self.choose(free)))

    def grow_enum(self) -> None:
        self.run(f"ALTER TYPE {self.schema}.mood ADD VALUE 'new {self.labels}'")
        self.labels += 1

    DATA = (
        "insert",
        "update",
        "update_nothing",
        "delete",
        "replace_rows",
        "truncate",
        "change_key_values",
        "rewrite",
    )
    SHAPE = (
        "add",
        "drop",
        "rename",
        "swap_names",
        "widen",
        "narrow",
        "retype",
        "change_key",
        "nullable",
        "recreate",
        "grow_enum",
    )

    def shift(self) -> None:
        """Do some changes of one day."""
        for _ in range(self.draw(st.integers(0, 4))):
            getattr(self, self.choose([*self.DATA, *self.DATA, *self.SHAPE]))()

    def declaration(self, **said: Any) -> str:
        """Return the YAML for this table alone; JSON is YAML."""
        return json.dumps(
            {
                "source": "shop",
                "defaults": {"schema": self.schema, "max_deleted": "100%"},
                "tables": {self.schema: {"table": self.name, **said}},
            }
        )
