"""What is set and granted on a database itself: pg_restore brings it only under the database's old name."""

from psycopg2 import sql

from pipeline import postgres
from pipeline.backup.restoring.target import Target
from pipeline.backup.store.manifest import Contents, DatabaseGrant, Setting
from pipeline.postgres import Connection


def apply(place: Target, wanted: Contents) -> tuple[str, ...]:
    """Give a new database the settings and grants of the one that was backed up; return what could not be."""
    database, remarks = sql.Identifier(place.database), []
    with place.opened() as connection:
        for setting in wanted.settings:
            try:
                _set(connection, database, setting)
            except postgres.Error as error:
                whose = f" of {setting.role}" if setting.role else ""
                remarks.append(
                    f"left out: the setting {setting.name}{whose} in the database "
                    f"({postgres.message_of(error)})"
                )
        if wanted.grants:
            everybody = "REVOKE ALL ON DATABASE {} FROM PUBLIC"
            postgres.rows(connection, sql.SQL(everybody).format(database))
        for grant in wanted.grants:
            try:
                _grant(connection, database, grant)
            except postgres.Error as error:
                what = f"{grant.privilege} on the database for {grant.grantee} ({postgres.message_of(error)})"
                remarks.append(f"left out: {what}")
    return tuple(remarks)


def _set(connection: Connection, database: sql.Identifier, setting: Setting) -> None:
    whose = sql.SQL("ALTER DATABASE {}").format(database)
    if setting.role:
        whose = sql.SQL("ALTER ROLE {} IN DATABASE {}").format(sql.Identifier(setting.role), database)
    name = postgres.identifier(*setting.name.split("."))
    postgres.rows(connection, "BEGIN")
    try:
        # As it is written there, list or not: nothing has to be quoted anew. And for this transaction alone.
        postgres.rows(connection, "SELECT set_config(%s, %s, true)", (setting.name, setting.value))
        postgres.rows(connection, sql.SQL("{} SET {} FROM CURRENT").format(whose, name))
    except postgres.Error:
        postgres.rows(connection, "ROLLBACK")
        raise
    postgres.rows(connection, "COMMIT")


def _grant(connection: Connection, database: sql.Identifier, grant: DatabaseGrant) -> None:
    words = sql.SQL("GRANT {} ON DATABASE {} TO {}").format(
        sql.SQL(grant.privilege),
        database,
        sql.Identifier(grant.grantee) if grant.grantee else sql.SQL("PUBLIC"),
    )
    option = sql.SQL(" WITH GRANT OPTION" if grant.grantable else "")
    postgres.rows(connection, sql.Composed([words, option]))
