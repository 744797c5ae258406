"""A restore makes what was asked for and no more: roles that matter here, in the database that was named."""

from collections.abc import Iterator

import pytest

from pipeline import access, postgres
from pipeline.backup.restoring import restore
from pipeline.errors import UsageError
from tests.backup.test_restore import fetched, restored
from tests.support.archive import SMALL
from tests.support.restores import Restores


@pytest.fixture
def bystander(restores: Restores) -> Iterator[str]:
    """A role of the server that has nothing to do with the database that is backed up."""
    name = f"{restores.archive.platform.prefix}_bystander"
    restores.source("shop", SMALL)
    with restores.archive.platform.connect("shop") as connection:
        postgres.rows(connection, f"CREATE ROLE {name}")
        restores.back_up("shop")
        yield name
        postgres.rows(connection, f"DROP ROLE {name}")


@pytest.mark.endurance
def test_only_roles_that_own_or_may_use_something_are_made_unless_all_are_asked_for(
    restores: Restores, bystander: str
) -> None:
    code, said = restored(restores, "--into-new", restores.name("copy"), "--table", "item")
    assert code == 0, said
    assert restores.roles() == set(restores.archive.manifest("shop", "2026-11-22").contents.roles)
    told = " ".join(said.split())
    assert bystander in told.partition("roles not created: ")[2].partition("--all-roles")[0]
    assert "next: ANALYZE public.item there" in told
    assert "let users in" not in told
    code, said = restored(restores, "--into-new", restores.name("all"), "--all-roles")
    assert code == 0, said
    assert bystander in restores.roles()


@pytest.mark.endurance
def test_a_restore_into_what_vault_names_never_lands_in_postgres_unasked(restores: Restores) -> None:
    restores.source("shop", SMALL)
    restores.back_up("shop")
    restores.archive.control.clear()
    for name in ("postgres", "template1", ""):
        path = restores.keep("target", uri=restores.uri(name))
        code, said = restored(restores, "--into", f"vault:{path}")
        assert code == 2, said
        told = f"names {name}, which belongs to the server itself" if name else "names no database; put"
        assert told in " ".join(said.split())
    assert fetched(restores) == []
    assert restores.ask("postgres", "SELECT to_regclass('public.item') IS NULL") == [(True,)]


def test_a_uri_that_names_the_database_of_its_server_is_no_target(restores: Restores) -> None:
    path = restores.keep("target", uri=restores.uri("postgres"))
    with (
        access.restoring(restores.archive.settings) as databases,
        pytest.raises(UsageError, match=r"its uri names postgres, which belongs to the server itself"),
    ):
        restore._kept_uri(databases, path)


@pytest.mark.endurance
@pytest.mark.parametrize("words", [["backups"], ["check"], ["status"]], ids=" ".join)
def test_who_asks_is_told_that_the_bucket_does_not_answer(restores: Restores, words: list[str]) -> None:
    """A night waits for it for a quarter of an hour; a command that takes so long fails here."""
    restores.archive.write_settings(realm="http://127.0.0.1:1")
    ended = restores.archive.run(*words)
    assert ended.code in (3, 4, 5), ended.err
    assert f"bucket {restores.archive.bucket_name}" in ended.out + ended.err
