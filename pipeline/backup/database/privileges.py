"""What a login lacks to back a database up: asked of the database, object by object, before a night."""

from pipeline import postgres
from pipeline.postgres import Connection

SHOWN = 5
FIRST_WITH_READ_ALL_DATA = 140000


def lacking(connection: Connection) -> list[str]:
    """Return what our login may not read of what pg_dump reads, each with the statement that grants it."""
    line = "its login may not read {what}: {statement}".format
    lines = postgres.read(connection, postgres.statement("backup/backup_privileges"), line)
    if len(lines) <= SHOWN:
        return lines
    more = "docs/backup-login.sql grants all of it"
    if connection.server_version >= FIRST_WITH_READ_ALL_DATA:
        login = postgres.value(connection, "SELECT quote_ident(current_user)")
        more = f"GRANT pg_read_all_data TO {login} grants what is in schemas, and docs/backup-login.sql all"
    return [*lines[:SHOWN], f"and {len(lines) - SHOWN} more; {more}"]
