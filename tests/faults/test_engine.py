"""The engine and its table: they see what they are there to see."""

import functools
import importlib
from collections.abc import Generator
from typing import Any

import pytest

from tests.faults import engine, matrix, table
from tests.faults.conftest import Worlds
from tests.faults.faults import Fault
from tests.faults.matrix import Step
from tests.faults.scene import Scene
from tests.faults.table import Outcome

LOAD = next(step for step in matrix.STEPS if step.name == "load")


def sabotaged(where: str, statement: str) -> Fault:
    """Return a fault that harms the warehouse or the source behind the back of everyone."""

    def strike(world: Any, _scene: Scene) -> Generator[None, None, None]:
        yield
        yield
        world.night.ask(where, statement)

    return Fault("sabotage", strike)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("DELETE FROM school.payment WHERE number = 150", "payment: "),
        ("UPDATE school.student SET name = 'x' WHERE id = 50", "student: "),
        ("INSERT INTO school.event VALUES ('twice', NULL, now())", "event: "),
        (
            "INSERT INTO school.student_history"
            " SELECT * FROM school.student_history WHERE _valid_to IS NOT NULL LIMIT 1",
            "history of ",
        ),
        ("CREATE TABLE staging.forgotten ()", "left behind: a table in staging: forgotten"),
    ],
)
def test_what_is_lost_twice_or_left_is_seen(worlds: Worlds, statement: str, told: str) -> None:
    with pytest.raises(AssertionError, match=told):
        engine.strike(worlds.get("loads"), LOAD.done, sabotaged("warehouse", statement))
    worlds.discard("loads")


@pytest.mark.faults
def test_a_place_that_is_never_reached_is_a_failure(worlds: Worlds) -> None:
    nowhere = "pipeline.loading.load:_Publication._forgotten_by_all:before"
    with pytest.raises(AssertionError, match="without coming to"):
        engine.strike(worlds.get("loads"), nowhere, sabotaged("warehouse", "SELECT 1"))
    worlds.discard("loads")


@pytest.mark.parametrize("step", matrix.STEPS, ids=lambda step: step.name)
def test_each_place_is_a_function_of_our_code(step: Step) -> None:
    """They are named in strings, which nothing else holds to what they name."""
    for place in step.places.values():
        module, name, when = place.split(":")
        assert callable(functools.reduce(getattr, name.split("."), importlib.import_module(module)))
        assert when in ("before", "after")


def test_the_table_has_each_step_and_fault_and_its_sum() -> None:
    # In the order in which they ended, which tells nothing.
    outcomes = [
        Outcome("extract", "source killed", "middle"),
        Outcome("extract", "step killed", "begun"),
        Outcome("load", "step killed", "begun"),
        Outcome("load", "step killed", "middle", "two rows are lost"),
        Outcome("extract", "step killed", "middle"),
    ]
    applies = {"extract": ["step killed", "source killed"], "load": ["step killed"], "mart": ["step killed"]}
    assert table.lines(outcomes, applies) == [
        "              extract   load",
        "step killed         2 FAILED",
        "source killed       1      -",
        "load, step killed, middle: two rows are lost",
        "5 faults tried, 4 survived; - does not apply",
    ]
