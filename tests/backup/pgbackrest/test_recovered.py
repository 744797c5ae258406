"""What is said of the tables of a server that was recovered, whose rows may have changed since our backup."""

from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.backup.drills import recovered
from pipeline.backup.store.manifest import Table


def table(name: str, rows: int, checksum: str) -> Table:
    return Table(schema_name="public", name=name, owner="o", columns=("id",), rows=rows, checksum=checksum)


BACKED_UP = (table("kept", 2, "1"), table("busy", 3, "2"))
STAYS = table("kept", 2, "1")


@pytest.mark.parametrize(
    ("counted", "held", "words"),
    [
        pytest.param(
            (STAYS, table("busy", 4, "3")), True, "1 of 2 are the same as in our backup", id="written to"
        ),
        pytest.param(
            (STAYS, table("busy", 0, "0")), None, "empty (emptied since, or lost): public.busy", id="empty"
        ),
        pytest.param((STAYS,), None, "missing (dropped since, or lost): public.busy", id="gone"),
        pytest.param(
            (table("kept", 1, "8"), table("busy", 4, "3")), None, "0 of 2 are the same as in", id="all others"
        ),
    ],
)
def test_what_may_be_a_loss_is_not_called_proven(
    counted: tuple[Table, ...], held: bool | None, words: str
) -> None:
    """A table that was emptied on purpose and one that recovery lost look the same: a person is to judge."""
    proven: Any = SimpleNamespace(run="2026-11-22", contents=SimpleNamespace(tables=BACKED_UP))
    said = recovered.tables(counted, proven)
    assert said.held is held
    assert words in said.detail
