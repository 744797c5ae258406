"""What a database holds at one moment: read for the manifest, and from what was restored, to compare."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from psycopg2 import sql

from pipeline import postgres
from pipeline.backup.store.encrypted_properties import Properties
from pipeline.backup.store.manifest import (
    Contents,
    Database,
    DatabaseGrant,
    Extension,
    LargeObjects,
    Missing,
    Need,
    Objects,
    Setting,
    Table,
)
from pipeline.backup.store.manifest import Sequence as SequenceState
from pipeline.errors import ConflictError
from pipeline.postgres import Connection

REWRITTEN = (
    "was truncated, rewritten or dropped since the snapshot of the backup, so its rows are lost to this "
    "backup"
)
# What of a large object is in a server's memory at once; and more than can be, where each is hashed whole.
PIECE_BYTES = 1 << 24
WHOLE_BYTES = (1 << 31) - 1
# What a session has that sets none itself, as ours does.
SEARCH_PATH = "SELECT reset_val FROM pg_settings WHERE name = 'search_path'"
COMMENT = """
    SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()
    """
# Who may set a parameter of the server is kept since.
FIRST_WITH_PARAMETER_GRANTS = 150000


class TableKind(StrEnum):
    """What a table is, by the letter in pg_class.relkind."""

    PLAIN = "r"
    PARTITIONED = "p"


@dataclass(frozen=True)
class TableShape:
    """A table of a dump. `size_bytes` is what it takes on disk, without its indexes.

    `file` is the number of the file that its rows are in: another one after it was truncated or rewritten.
    A partitioned one has no rows itself. `extension_condition` is set for an
    extension's own table: of that a dump has the rows which the condition (SQL, may be empty) lets through.
    `enum_root` is the full name of the table by whose enum it is a partition by hash.
    """

    oid: int
    kind: TableKind
    schema_name: str
    name: str
    owner: str
    columns: tuple[str, ...]
    size_bytes: int
    file: int
    extension_condition: str | None
    enum_root: str | None

    @property
    def full_name(self) -> str:
        """Return schema and name, for people."""
        return f"{self.schema_name}.{self.name}"


def database(connection: Connection) -> Database:
    """Return the database and its server."""
    return Database(**postgres.records(connection, postgres.statement("backup/database"))[0])


def dumped(connection: Connection, *, sizes: bool = True) -> list[TableShape]:
    """Return every table that a dump has, the largest first; without `sizes` no lock is waited for."""
    return [
        TableShape(**{**row, "columns": tuple(row["columns"]), "kind": TableKind(row["kind"])})
        for row in postgres.records(connection, postgres.statement("backup/tables"), {"sizes": sizes})
    ]


def tables(connection: Connection) -> list[TableShape]:
    """Return every table whose rows a manifest tells, the largest first."""
    plain = [one for one in dumped(connection) if one.kind == TableKind.PLAIN]
    return [one for one in plain if one.extension_condition is None]


def sequences(connection: Connection) -> tuple[SequenceState, ...]:
    """Return the sequences and how far each has got."""
    return tuple(
        SequenceState(**row) for row in postgres.records(connection, postgres.statement("backup/sequences"))
    )


@dataclass(frozen=True)
class _Counted:
    """The rows of a table, their checksum, and the file that they were in."""

    rows: int
    checksum: str
    file: int


def count(connection: Connection, shape: TableShape) -> Table:
    """Count a table's rows and compute their checksum, in the connection's snapshot and session settings.

    Raise ConflictError if it was rewritten since its shape was read: an older snapshot then finds it empty.
    """
    query = sql.SQL(
        """
        SELECT count(*) AS rows,
               coalesce(sum(hashtextextended(ROW({columns})::text COLLATE "C", 0)::numeric), 0)::text
                   AS checksum,
               pg_relation_filenode({oid}) AS file
        FROM ONLY {table} AS t {condition}
        """
    ).format(
        columns=postgres.columns(shape.columns, "t"),
        oid=sql.Literal(shape.oid),
        table=postgres.identifier(shape.schema_name, shape.name),
        # As pg_dump puts it there itself.
        condition=sql.SQL(shape.extension_condition or ""),
    )
    with postgres.explained(shape.full_name):
        # The query has the table's lock: nobody gives it another file from here on.
        (counted,) = postgres.read(connection, query, _Counted)
        if counted.file != shape.file:
            raise ConflictError(REWRITTEN)
    return Table(
        schema_name=shape.schema_name,
        name=shape.name,
        owner=shape.owner,
        columns=shape.columns,
        rows=counted.rows,
        checksum=counted.checksum,
    )


def large_objects(connection: Connection, piece_bytes: int | None = PIECE_BYTES) -> LargeObjects:
    """Count the large objects and compute their checksum, in pieces as `LargeObjects` has them."""
    parameters = {"piece_bytes": piece_bytes or WHOLE_BYTES}
    with postgres.explained("large objects"):
        (counted,) = postgres.records(connection, postgres.statement("backup/large_objects"), parameters)
    return LargeObjects(**counted, piece_bytes=piece_bytes)


def extensions(connection: Connection) -> tuple[Extension, ...]:
    """Return the extensions."""
    return tuple(
        Extension(**row) for row in postgres.records(connection, postgres.statement("backup/extensions"))
    )


def objects(connection: Connection) -> tuple[Objects, ...]:
    """Return how many objects of each kind each role owns."""
    return tuple(Objects(**row) for row in postgres.records(connection, postgres.statement("backup/objects")))


def complete(
    connection: Connection,
    counted: Sequence[Table],
    sequences: Sequence[SequenceState],
    large_objects: LargeObjects,
) -> Contents:
    """Return everything: what was counted already, and what is read quickly; but for the settings.

    They are those of `properties`, which are read once: their values are kept elsewhere.
    """
    roles = _names(connection, "backup/roles")
    return Contents(
        database=database(connection),
        session=postgres.SESSION,
        tables=tuple(sorted(counted, key=lambda table: (table.schema_name, table.name))),
        sequences=tuple(sequences),
        extensions=extensions(connection),
        objects=objects(connection),
        large_objects=large_objects,
        roles=roles,
        needs=tuple(Need(**row) for row in postgres.records(connection, postgres.statement("backup/needs"))),
        grantors=_names(connection, "backup/grantors"),
        search_path=postgres.value(connection, SEARCH_PATH),
        missing=tuple(
            Missing(**row)
            for row in postgres.records(
                connection, postgres.statement("backup/not_dumped"), {"roles": list(roles)}
            )
        ),
        grants=grants(connection),
    )


def _names(connection: Connection, statement: str) -> tuple[str, ...]:
    return tuple(name for (name,) in postgres.rows(connection, postgres.statement(statement)))


def neighbours(connection: Connection) -> tuple[str, ...]:
    """Return what the other databases of the server are called that could be backed up."""
    return _names(connection, "backup/neighbours")


def grants(connection: Connection) -> tuple[DatabaseGrant, ...]:
    """Return who may do what with the database itself; nobody is named where nothing was ever granted."""
    rows = postgres.records(connection, postgres.statement("backup/database_grants"))
    return tuple(DatabaseGrant(**row) for row in rows)


def properties(connection: Connection) -> Properties:
    """Return what is set on the database itself, and may be a credential."""
    rows = postgres.records(connection, postgres.statement("backup/database_settings"))
    return Properties(
        settings=tuple(Setting(**row) for row in rows), comment=postgres.value(connection, COMMENT)
    )


def globals_sql(connection: Connection, own: Properties) -> str:
    """Return the server's roles, memberships and settings as SQL, without passwords.

    The properties of the database, its `own`, are in a comment there.
    """
    lines = _names(connection, "backup/globals")
    if connection.server_version >= FIRST_WITH_PARAMETER_GRANTS:
        lines += _names(connection, "backup/parameter_grants")
    begin = ("-- Roles, memberships and their settings; no passwords.", own.line())
    return "\n".join([*begin, *lines, ""])
