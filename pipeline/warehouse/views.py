"""Views: what depends on a table of the warehouse, kept over the swap of the table under it.

PostgreSQL ties a view to the very table it was made on, and drops its grants with it. So each dependent
view is written down whole (definition, owner, grants, options, comments, indexes), and made again on the new
table. Where a materialized one has to be filled, that is done beforehand, while people read the old ones.

Views are other people's, and so is the code in them: it is run with their rights and not with ours, which may
do more. A materialized one is made empty, given to its owner, and then filled, which the server does as that.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from psycopg2 import sql

from pipeline import postgres
from pipeline.catalog import RelationKind
from pipeline.errors import StepError
from pipeline.postgres import Composable, Connection, foreign
from pipeline.warehouse import relation as relations


@dataclass(frozen=True)
class View:
    """A view, or a materialized one, with the statements that make it again as it is.

    `definition` makes it, without rows; then come its owner, its rows if it is `populated`, its `indexes`,
    grants and comments (`rights`). `constant` is a type that people made and of which it has a constant.
    """

    oid: int
    schema: str
    name: str
    materialized: bool
    populated: bool
    owner: str
    definition: str
    indexes: Sequence[str]
    rights: Sequence[str]
    constant: str | None = None

    @property
    def kind(self) -> sql.SQL:
        return sql.SQL("MATERIALIZED VIEW" if self.materialized else "VIEW")

    @property
    def ownership(self) -> sql.Composed:
        """The statement that gives it to its owner."""
        return sql.SQL("ALTER TABLE {} OWNER TO {}").format(self._identifier(), sql.Identifier(self.owner))

    def making(self, names: Mapping[str, str], schema: str) -> list[Composable]:
        """Return what makes it in a schema, with other `names` in its definition, as in `_renamed`."""
        here = replace(self, schema=schema)
        filled = (
            [sql.SQL("REFRESH MATERIALIZED VIEW {}").format(here._identifier())] if self.populated else []
        )
        rest = [sql.SQL(_renamed(statement, names)) for statement in (*self.indexes, *self.rights)]
        return [sql.SQL(_renamed(self.definition, names)), here.ownership, *filled, *rest]

    def _identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)


def dependent(warehouse: Connection, relation: sql.Identifier) -> list[View]:
    """Return the views on a table, and the views on those, each after what it reads."""
    statement = postgres.statement("warehouse/dependent_views")
    views = postgres.read(warehouse, statement, View, relation.strings)
    constants = foreign.constants(warehouse, [view.oid for view in views])
    return [replace(view, constant=constants.get(view.oid)) for view in views]


def lock(warehouse: Connection, views: list[View]) -> None:
    """Lock the views in the order in which their readers do: each before what it reads."""
    for view in reversed(views):
        if not view.materialized:  # its readers touch nothing else
            try:
                # LOCK TABLE would lock what it reads too, which its owner may not. This changes nothing.
                postgres.rows(warehouse, view.ownership)
            except postgres.InsufficientPrivilege as error:
                raise _not_ours(f'view "{view.schema}"."{view.name}"', error) from None


def lock_target(warehouse: Connection, relation: sql.Identifier) -> None:
    """Lock a table, or a view, that another is to replace."""
    if relations.kind(warehouse, relation) == RelationKind.VIEW:
        query = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = %s"
        owner = postgres.value(warehouse, query, (relations.oid(warehouse, relation),))
        statement = sql.SQL("ALTER VIEW {} OWNER TO {}").format(relation, sql.Identifier(owner))
    else:
        statement = sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(relation)
    postgres.rows(warehouse, statement)


def drop(warehouse: Connection, views: list[View]) -> None:
    """Drop the views, the last dependent first."""
    for view in reversed(views):
        statement = sql.SQL("DROP {} {}").format(view.kind, sql.Identifier(view.schema, view.name))
        _drop(warehouse, statement, f'view "{view.schema}"."{view.name}"')


def drop_table(warehouse: Connection, relation: sql.Identifier) -> None:
    """Drop a table, or a view, whose views are gone. Raise StepError if something else depends on it."""
    kind = "VIEW" if relations.kind(warehouse, relation) == RelationKind.VIEW else "TABLE"
    _drop(warehouse, sql.SQL("DROP {} {}").format(sql.SQL(kind), relation), f"the {kind.lower()}")


def _drop(warehouse: Connection, statement: Composable, what: str) -> None:
    try:
        postgres.rows(warehouse, statement)
    except postgres.LockNotAvailable:
        raise
    except postgres.Error as error:
        raise postgres.environmental(error) or _not_ours(what, error) from None


def _not_ours(what: str, error: postgres.Error) -> StepError:
    detail = " ".join((error.diag.message_detail or "").split())
    return StepError(
        f"{what} has to be created again on the table's new shape, and cannot be dropped: "
        f"{' '.join(filter(None, (postgres.message_of(error), detail)))}",
        hint="make the pipeline's role its owner (ALTER ... OWNER TO), or drop its dependents",
    )


def copy_indexes(warehouse: Connection, relation: sql.Identifier, other: sql.Identifier) -> None:
    """Give a new table the indexes that somebody made on the one it will replace, its key's aside.

    One on a column that is gone goes with it.
    """
    indexes = postgres.records(warehouse, postgres.statement("warehouse/indexes"), relation.strings)
    known = set(relations.column_names(warehouse, other))
    for index in indexes:
        if known >= set(index["columns"]):
            # "CREATE INDEX name ON schema.table USING ...", and no name in it is without its quotes.
            before, _, after = index["definition"].partition(f" ON {_quoted(warehouse, relation)} USING ")
            statement = sql.SQL("{} ON {} USING {}").format(sql.SQL(before), other, sql.SQL(after))
            postgres.rows(warehouse, statement)


def _quoted(warehouse: Connection, relation: sql.Identifier) -> str:
    quoted: str = postgres.value(warehouse, "SELECT format('%%I.%%I', %s::text, %s::text)", relation.strings)
    return quoted


def create(warehouse: Connection, views: list[View]) -> None:
    """Make the views again. Raise StepError, naming the one that the new table no longer fits."""
    for view in views:
        _require_ours(view)
        try:
            # All at once, for somebody may be waiting.
            postgres.rows(warehouse, sql.SQL(";\n").join(view.making({}, view.schema)))
        except postgres.Error as error:
            raise postgres.environmental(error) or StepError(
                f'view "{view.schema}"."{view.name}" does not fit the table\'s new shape: '
                f"{postgres.message_of(error)}",
                hint=f"change or drop the view, or give its owner {view.owner} what it lacks"
                if isinstance(error, postgres.InsufficientPrivilege)
                else "change or drop the view",
                retryable=False,
            ) from None


def _require_ours(view: View) -> None:
    """Raise StepError if making the view would run its owner's code with our rights."""
    if view.constant:
        raise StepError(
            f'view "{view.schema}"."{view.name}" has to be created again, and has a constant of the type '
            f"{view.constant}, whose checks would be run with the pipeline's rights",
            hint="write the constant without that type, or drop the view",
            retryable=False,
        )


def make_ahead(warehouse: Connection, views: Sequence[View], target: sql.Identifier, ahead_in: str) -> bool:
    """Make all views on the table that is to replace `target`, in the schema `ahead_in`; say whether it went.

    The new table is there already, under its final name.
    """
    names = {
        _quoted(warehouse, sql.Identifier(schema, name)): _quoted(warehouse, sql.Identifier(ahead_in, name))
        for schema, name in (target.strings, *((view.schema, view.name) for view in views))
    }
    if any(view.constant for view in views):
        return False
    try:
        lent = _lend(warehouse, views, target, ahead_in)
        for view in views:
            for statement in view.making(names, ahead_in):
                postgres.rows(warehouse, statement)
        # What people may with the table is for the swap to say.
        for owner in lent:
            table = sql.Identifier(ahead_in, target.strings[1])
            postgres.rows(warehouse, sql.SQL("REVOKE SELECT ON {} FROM {}").format(table, owner))
    except postgres.Error:
        return False
    # One that still reads the old table would keep it from being dropped.
    return all(view.schema != ahead_in for view in dependent(warehouse, target))


def _lend(
    warehouse: Connection, views: Sequence[View], target: sql.Identifier, ahead_in: str
) -> list[sql.Identifier]:
    """Let the views' owners have views in the schema, and read the new table if they may read the old one.

    Return those who may read it only by that.
    """
    table, schema = sql.Identifier(ahead_in, target.strings[1]), sql.Identifier(ahead_in)
    lent = []
    for owner in sorted({view.owner for view in views}):
        identifier = sql.Identifier(owner)
        postgres.rows(warehouse, sql.SQL("GRANT USAGE, CREATE ON SCHEMA {} TO {}").format(schema, identifier))
        query = "SELECT has_table_privilege(%s, %s::regclass, 'SELECT')"
        old, new = (
            postgres.value(warehouse, query, (owner, relation.as_string(warehouse)))
            for relation in (target, table)
        )
        if old and not new:
            postgres.rows(warehouse, sql.SQL("GRANT SELECT ON {} TO {}").format(table, identifier))
            lent.append(identifier)
    return lent


_WORD = r'(?:"(?:[^"]|"")*"|[^\W\d][\w$]*)'
# A text in quotes, or a name with all that is before it.
_TOKEN = re.compile(rf"'(?:[^']|'')*'|{_WORD}(?:\.{_WORD})*")


def _renamed(statement: str, names: Mapping[str, str]) -> str:
    """Return a statement with other names in it.

    >>> _renamed("SELECT a, 'hr.staff' FROM hr.staff, hr.staff_2, b.hr.staff", {"hr.staff": "x.staff"})
    "SELECT a, 'hr.staff' FROM x.staff, hr.staff_2, b.hr.staff"
    """
    return _TOKEN.sub(lambda token: names.get(token[0], token[0]), statement)


def take_places(warehouse: Connection, views: Sequence[View], ahead_in: str) -> None:
    """Put views that were made ahead in the places of those that were dropped."""
    for view in views:
        statement = sql.SQL("ALTER {} {} SET SCHEMA {}").format(
            view.kind, sql.Identifier(ahead_in, view.name), sql.Identifier(view.schema)
        )
        postgres.rows(warehouse, statement)


def drop_schema(warehouse: Connection, ahead_in: str, views: Sequence[View]) -> None:
    """Drop what was made ahead and is not needed, and its schema."""
    for view in reversed(views):
        statement = sql.SQL("DROP {} IF EXISTS {}").format(view.kind, sql.Identifier(ahead_in, view.name))
        postgres.rows(warehouse, statement)
    postgres.rows(warehouse, sql.SQL("DROP SCHEMA {}").format(sql.Identifier(ahead_in)))


def grants(warehouse: Connection, relation: sql.Identifier, columns: Sequence[str]) -> list[str]:
    """Return the statements that give a table's owner, grants and comments to another of the same name.

    What is about a column that is none of `columns` is left out.
    """
    if relations.oid(warehouse, relation) is None:
        return []
    rows = postgres.records(warehouse, postgres.statement("warehouse/grants"), relation.strings)
    return [row["statement"] for row in rows if row["about"] is None or row["about"] in columns]


def showing(connection: Connection, schema: str, table: str, column: str) -> list[str]:
    """Return the views of the warehouse that show a column, as schema.name."""
    rows = postgres.rows(connection, postgres.statement("warehouse/views_on_column"), (schema, table, column))
    return [view for (view,) in rows]
