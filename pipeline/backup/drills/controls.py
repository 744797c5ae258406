"""Negative controls: what a drill damages on purpose, to see that a restore would have noticed."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from psycopg2 import sql

from pipeline import postgres
from pipeline.backup.database import assertions, contents, partitions
from pipeline.backup.database.assertions import Assertion
from pipeline.backup.database.contents import TableShape
from pipeline.backup.restoring import target
from pipeline.backup.restoring.restoration import Restored
from pipeline.backup.store.fetch import Fetched, Key
from pipeline.backup.store.manifest import Manifest, Table
from pipeline.errors import CheckError
from pipeline.postgres import Connection

HASH_BYTES = 1024 * 1024
# Where a row cannot be taken away (somebody refers to it), another table is tried.
TABLES_TRIED = 20


def damaged_copy(proven: Manifest, fetched: Fetched, private: Key, folder: Path) -> Assertion:
    """Flip one bit of the downloaded copy: its SHA-256 must differ, and gpg must refuse it."""
    name = "a damaged copy is refused"
    _flip(fetched.encrypted, proven.dump.encrypted.size_bytes // 2)
    if _sha256(fetched.encrypted) == proven.dump.encrypted.sha256:
        return Assertion(name=name, held=False, detail="its SHA-256 did not change")
    plain = folder / "damaged"
    try:
        with private.opened(folder) as opened:
            opened.decrypt(fetched.encrypted, plain)
    except CheckError:
        return Assertion(name=name, held=True, detail="one bit flipped: another SHA-256, and gpg refused it")
    finally:
        plain.unlink(missing_ok=True)
    return Assertion(name=name, held=False, detail="one bit was flipped, and gpg decrypted it")


def altered_row(restored: Restored) -> Assertion:
    """Take one row away, in a transaction that is rolled back: the comparison must tell."""
    name = "a missing row is noticed"
    tables = sorted((one for one in restored.manifest.contents.tables if one.rows), key=lambda one: one.rows)
    session = {**restored.manifest.contents.session, "row_security": "off", **target.WRITING}
    with restored.target.opened(autocommit=False, session=session) as connection:
        shapes = contents.tables(connection)
        roots = partitions.roots(shapes)
        for table in tables[:TABLES_TRIED]:
            together = partitions.together(table.full_name, roots)
            altered = _without_a_row(connection, table, [one for one in shapes if one.full_name in together])
            if altered is None:
                continue
            before = [one for one in restored.manifest.contents.tables if one.full_name in together]
            compared = assertions.tables_held(before, altered, roots)
            missed = f"the comparison of {table.full_name} did not notice"
            detail = f"one row deleted: {compared.detail}" if not compared.held else missed
            return Assertion(name=name, held=not compared.held, detail=detail)
    why = "no row can be deleted alone" if tables else "there are no rows"
    return Assertion(name=name, held=None, detail=f"not tried: {why}")


def _without_a_row(
    connection: Connection, table: Table, together: Sequence[TableShape]
) -> list[Table] | None:
    """Return what is counted `together` after a row of the table was deleted; None if that is refused."""
    place = postgres.identifier(table.schema_name, table.name)
    delete = sql.SQL("DELETE FROM ONLY {0} WHERE ctid = (SELECT ctid FROM ONLY {0} LIMIT 1)").format(place)
    try:
        with connection.cursor() as cursor:
            cursor.execute(delete)
            if cursor.rowcount != 1:  # a trigger held it back
                return None
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        return [contents.count(connection, shape) for shape in together]
    except postgres.Error:
        return None
    finally:
        connection.rollback()


def _flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while piece := file.read(HASH_BYTES):
            digest.update(piece)
    return digest.hexdigest()
