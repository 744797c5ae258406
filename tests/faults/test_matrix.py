"""Each step of each chain against each fault that can reach it: the same command again, and all is right."""

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults import engine, matrix
from tests.faults.conftest import Worlds
from tests.faults.matrix import Cell
from tests.support.archive import may_mount

# One that has all at stake: the transaction that publishes, and nobody left who could tidy up. One that is no
# failure.
QUICK = ("load-all_killed-middle", "extract-source_slow-begun")


def _parameter(cell: Cell) -> Any:
    return pytest.param(cell, id=cell.name, marks=() if cell.name in QUICK else pytest.mark.faults)


@pytest.mark.parametrize("cell", [_parameter(cell) for cell in matrix.cells()])
def test_a_fault_costs_nothing(
    cell: Cell, worlds: Worlds, record_property: Callable[[str, object], None]
) -> None:
    if cell.fault.needs_mounts and not may_mount():
        pytest.skip("no file system can be mounted here")
    wrong = ""
    try:
        world = worlds.get(cell.step.world, harmed=cell.fault.harms)
        engine.strike(world, cell.step.places[cell.place], cell.fault)
    except BaseException as error:
        wrong = str(error).partition("\n")[0][:300]
        # What cannot be tidied up either is not what is to be told.
        with contextlib.suppress(Exception):
            worlds.discard(cell.step.world, harmed=cell.fault.harms)
        raise
    finally:
        record_property("fault", (cell.step.name, cell.fault.name, cell.place, wrong))
