"""Each chain is declared once: Luigi's tasks are those of pipeline.chains, and nobody else names them."""

import ast
import importlib
import re
from pathlib import Path
from typing import Any

import luigi
import pytest

from pipeline import chains
from pipeline.chains import CHAINS, Chain
from tasks import events
from tests.support import source_code
from tests.support.source_code import TOP

# What a task is made with, by parameter.
SAMPLE = {
    "source": "hr",
    "table": "employee",
    "database": "hr",
    "mart": "staff",
    "program": "headcount",
    "run": "2026-11-22",
    "month": "2026-11",
}
CASES = [(chain, task.name) for chain in CHAINS for task in chain.tasks]
NAMES = [task.name for chain in CHAINS for task in chain.tasks]


def the_class(chain: Chain, task: str) -> Any:
    return getattr(importlib.import_module(chain.module), task)


@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: chain.name)
def test_every_task_of_a_chain_is_declared_and_none_that_is_not_there(chain: Chain) -> None:
    module = importlib.import_module(chain.module)
    found = [
        one
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, luigi.Task) and one.__module__ == chain.module
    ]
    # What only others are made of is not a task.
    bases = {base for one in found for base in one.__mro__[1:]}
    assert {one.__name__ for one in found if one not in bases} == {task.name for task in chain.tasks}


def test_every_module_with_tasks_of_a_night_is_a_chain_of_its_own() -> None:
    modules = {
        f"tasks.{path.stem}" for path in (TOP / "tasks").glob("*.py") if "task_namespace" in path.read_text()
    }
    assert modules == {chain.module for chain in CHAINS}


@pytest.mark.parametrize(("chain", "task"), CASES, ids=[task for _, task in CASES])
def test_a_task_is_known_by_its_family_and_parameters(chain: Chain, task: str) -> None:
    found = the_class(chain, task)
    assert found.task_family == chain.family(task)
    assert chains.of_family(found.task_family) == (chain, chain.task(task))
    assert chains.find(task) is chain
    part = chain.task(task).part
    names = [name for name, _ in found.get_params()]
    assert chain.run_parameter in names
    assert part is None or set(part.parameters) < set(names)


@pytest.mark.parametrize(("chain", "task"), CASES, ids=[task for _, task in CASES])
def test_a_task_depends_only_on_tasks_that_its_chain_declares_before_it(chain: Chain, task: str) -> None:
    order = [one.name for one in chain.tasks]
    source = ast.parse((TOP / f"{chain.module.replace('.', '/')}.py").read_text())
    body = next(one for one in source.body if isinstance(one, ast.ClassDef) and one.name == task)
    requires = next((one for one in body.body if getattr(one, "name", "") == "requires"), None)
    if requires is None:
        return
    called = {
        one.func.id
        for one in ast.walk(requires)
        if isinstance(one, ast.Call) and isinstance(one.func, ast.Name) and one.func.id in NAMES
    }
    assert called
    # A check may compare a table with another one, which is loaded by then. A mart may read another, or a
    # source of which no table is known.
    elsewhere = {chains.LOAD_TASK, chains.SOURCE_TASK, chains.BUILD_TASK}
    assert called - set(order[: order.index(task)]) <= elsewhere


@pytest.mark.parametrize(("chain", "task"), CASES, ids=[task for _, task in CASES])
def test_an_alert_of_a_task_has_the_key_that_its_chain_declares(chain: Chain, task: str) -> None:
    found = the_class(chain, task)
    wanted = {name for name, _ in found.get_params()} & {*SAMPLE}
    made = found(**{name: SAMPLE[name] for name in wanted})
    assert events.subject_of(made).key == chain.subject(task, SAMPLE).key


@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: chain.name)
def test_once_the_root_is_done_nothing_of_a_lost_worker_is_undone(chain: Chain) -> None:
    assert chain.makes_up_for_a_loss(chain.root)


def matches(pattern: re.Pattern[str], path: Path) -> set[str]:
    """Return the strings of a module in which something is found."""
    return {text for _, text in source_code.texts(source_code.parsed(path)) if pattern.search(text)}


def test_what_to_type_for_a_chain_is_written_nowhere_else() -> None:
    a_command = re.compile(rf"pipeline run ({'|'.join(chain.name for chain in CHAINS)})\b")
    found = {}
    for path in source_code.modules():
        if here := matches(a_command, path):
            found[str(path.relative_to(TOP))] = here
    assert not found


def test_the_names_of_tasks_stand_nowhere_but_where_they_are_declared() -> None:
    names = "|".join(NAMES)
    # By itself, with its namespace before it, or in SQL.
    a_name = re.compile(rf"^(?:\w+\.)?(?:{names})$|'(?:{names})'")
    found: dict[str, Any] = {}
    for path in source_code.modules():
        if "chains" not in path.parts and (here := matches(a_name, path)):
            found[str(path.relative_to(TOP))] = here
    for path in (TOP / "pipeline").rglob("*.sql"):
        if here := set(a_name.findall(path.read_text())):
            found[str(path.relative_to(TOP))] = here
    assert not found
