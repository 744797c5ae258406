"""A database whose definitions changed is drilled the same night; one that is as it was proven, is not."""

from datetime import UTC, datetime

from pipeline import postgres
from pipeline.backup import drill, due
from tests.archive import SMALL
from tests.restores import Restores


def test_a_database_is_drilled_when_its_definitions_changed_and_once_a_month(restores: Restores) -> None:
    restores.source("shop", SMALL)
    restores.back_up("shop")

    this_month = f"{datetime.now(UTC):%Y-%m}"

    def tonight(month: str = this_month) -> list[str]:
        return due.due(restores.archive.settings, ["shop"], month)

    assert tonight() == ["shop"]
    drill.drill_database(restores.archive.settings, "shop", f"{this_month}-first")
    assert tonight() == []
    assert tonight("2999-12") == ["shop"]
    with restores.archive.platform.connect("shop") as connection:
        postgres.rows(connection, "INSERT INTO item VALUES (5000, 'rows alone')")
        restores.back_up("shop", "2026-11-23")
        assert tonight() == []
        postgres.rows(connection, "CREATE INDEX item_name ON item (name)")
    restores.back_up("shop", "2026-11-24")
    assert tonight() == ["shop"]
    done = restores.archive.run("run", "drill", "--changed")
    assert done.code == 0, done.out + done.err
    assert tonight() == []
    again = restores.archive.run("run", "drill", "--changed")
    assert again.code == 0, again.out + again.err
    assert "has the definitions of its last drill" in again.out
