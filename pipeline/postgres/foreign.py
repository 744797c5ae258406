"""Foreign: types of other people's making. Who reads a value of one runs what its domains check.

So no value of such a type is read in a session that may do more than its maker. A constant in a view is read
as the view is made, by whoever makes it ('(1)'::theirs); in a table, by whoever copies its rows.
"""

from collections.abc import Collection

from pipeline.postgres.statements import Connection, records, statement


def types(connection: Connection, oids: Collection[int]) -> dict[int, str]:
    """Return the names of those of the types that other people have made, by their oids."""
    rows = records(connection, statement("postgres/foreign_types"), (list(oids),)) if oids else []
    return {int(row["oid"]): str(row["name"]) for row in rows}


def constants(connection: Connection, views: Collection[int]) -> dict[int, str]:
    """Return a type that other people made and of which a view has constants, by the views' oids."""
    rows = records(connection, statement("postgres/constant_types"), (list(views),)) if views else []
    made = types(connection, {int(row["type"]) for row in rows})
    return {int(row["relation"]): made[row["type"]] for row in rows if row["type"] in made}
