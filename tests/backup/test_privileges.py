"""What a backup's login lacks is told by `check`, with the statement that grants it;
docs/backup-login.sql makes one that lacks nothing.
"""

import re
import subprocess

import pytest

from pipeline import access, postgres
from pipeline.backup.database import privileges
from pipeline.sandbox import provision
from pipeline.sandbox.home import PROJECT
from pipeline.sandbox.servers import clusters
from tests.support.archive import SMALL, Archive

FILE = PROJECT / "docs" / "backup-login.sql"
EVERYTHING = (
    SMALL
    + """
CREATE SEQUENCE counter;
CREATE SCHEMA hidden;
CREATE TABLE hidden.row (id int PRIMARY KEY, whose text);
INSERT INTO hidden.row VALUES (1, 'mine');
ALTER TABLE hidden.row ENABLE ROW LEVEL SECURITY;
SELECT lo_from_bytea(4711, 'large object');
"""
)


@pytest.fixture
def poor(archive: Archive) -> Archive:
    """A database whose backup's login was given nothing yet."""
    archive.source("shop", EVERYTHING)
    with archive.platform.connect("shop") as connection:
        postgres.rows(connection, f"REVOKE pg_read_all_data FROM {login(archive)}")
        postgres.rows(connection, "REVOKE USAGE ON SCHEMA public FROM PUBLIC")
    return archive


def login(archive: Archive) -> str:
    return f"backup_{archive.platform.database('shop')}"


def lacking(archive: Archive) -> list[str]:
    with access.opened(archive.settings) as databases, databases.database("shop") as connection:
        return privileges.lacking(connection)


@pytest.mark.endurance
def test_check_names_all_that_a_backup_may_not_read_and_its_statements_grant_it(poor: Archive) -> None:
    checked = poor.run("check")
    told = " ".join(checked.out.split())
    assert checked.code == 4, checked.out + checked.err
    for statement in (
        f"GRANT USAGE ON SCHEMA hidden TO {login(poor)}",
        f"GRANT SELECT ON TABLE public.item TO {login(poor)}",
        f"GRANT SELECT ON SEQUENCE public.counter TO {login(poor)}",
        "and 2 more",
        f"GRANT pg_read_all_data TO {login(poor)}",
    ):
        assert statement in told
    assert poor.backup("shop", "2026-11-22").code == 3
    with poor.platform.connect("shop") as connection:
        while found := lacking(poor):
            for line in found:
                statement = line.rpartition(": ")[2]
                if re.match("GRANT|ALTER", statement):
                    postgres.rows(connection, statement)
    done = poor.backup("shop", "2026-11-22")
    assert done.code == 0, done.out + done.err
    assert poor.manifest("shop", "2026-11-22").contents.large_objects.count == 1


@pytest.mark.endurance
def test_the_file_of_the_documents_makes_a_login_that_lacks_nothing(poor: Archive) -> None:
    arguments = [
        str(clusters.BINARIES / "psql"),
        *clusters.socket_arguments(poor.platform.sandbox.home, provision.SOURCES),
        f"--dbname={poor.platform.database('shop')}",
        "--no-psqlrc",
        "--quiet",
        f"--set=login={login(poor)}",
        f"--file={FILE}",
    ]
    for _ in ("once", "again"):
        subprocess.run(arguments, check=True, capture_output=True)
    assert lacking(poor) == []
    with poor.platform.connect("shop") as connection:
        query = f"SELECT rolsuper, rolbypassrls, rolcreaterole FROM pg_roles WHERE rolname = '{login(poor)}'"
        assert postgres.rows(connection, query) == [(False, True, False)]
    done = poor.backup("shop", "2026-11-22")
    assert done.code == 0, done.out + done.err


def test_what_a_backup_may_not_read_is_named_with_the_statement_that_grants_it(poor: Archive) -> None:
    found = lacking(poor)
    assert f"GRANT USAGE ON SCHEMA hidden TO {login(poor)}" in "; ".join(found)
    with poor.platform.connect("shop") as connection:
        while found:
            statements = [line.rpartition(": ")[2] for line in found]
            granted = [line for line in statements if re.match("GRANT|ALTER", line)]
            assert granted, found
            for statement in granted:
                postgres.rows(connection, statement)
            found = lacking(poor)
        query = f"SELECT rolbypassrls, rolsuper FROM pg_roles WHERE rolname = '{login(poor)}'"
        assert postgres.rows(connection, query) == [(True, False)]
