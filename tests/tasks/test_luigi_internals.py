"""What we use of Luigi without its word: each name, and the code that it has in the pinned version."""

import ast
import hashlib
import importlib
import inspect
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import luigi
import pytest
from luigi import (
    cmdline_parser,
    db_task_history,
    interface,
    metrics,
    rpc,
    scheduler,
    server,
    task_history,
    worker,
)
from luigi.contrib import prometheus_metric

from tasks import luigi_internals, luigi_served
from tests.support import source_code

TOP = Path(__file__).parents[2]
INTERNALS = [TOP / "tasks" / "luigi_internals.py", TOP / "tasks" / "luigi_served.py"]
PRIVATE = re.compile(r"_[a-z]\w*|_[A-Z]\w*")

# What is called, or called by Luigi and overridden: its owner, its name, and the digest of its code, which is
# another where Luigi's has changed. Then see whether luigi_internals still holds, and note the new one.
CODE: tuple[tuple[Any, str, str], ...] = (
    (worker.Worker, "_generate_worker_info", "7d9bca67ee10"),
    (worker.Worker, "_create_task_process", "fcefc7d80ea3"),
    (worker.Worker, "_get_work", "6c331356c7ea"),
    (worker.Worker, "_get_work_task_id", "bf1d1fef4717"),
    (worker.Worker, "_add_task", "dcb095fe89a0"),
    (worker.Worker, "_keep_alive", "038e82dc2c80"),
    (worker.Worker, "_email_task_failure", "dec61eebf5b1"),
    (worker.Worker, "_run_task", "c8163bc44e97"),
    (worker.Worker, "_handle_next_task", "940eb785bec8"),
    (worker.Worker, "_start_phasing_out", "75aa1a998f80"),
    (worker, "_get_retry_policy_dict", "ad545c8758b2"),
    (rpc.RemoteScheduler, "_get_retryer", "346a04b91ad5"),
    (scheduler.Scheduler, "_schedulable", "29ec90d5b35d"),
    (db_task_history.DbTaskHistory, "_add_task_event", "8c3e35934943"),
    (interface, "_WorkerSchedulerFactory", "5c33089b4ac6"),
    # Not private by their names, but put in the place of Luigi's own, or looked into.
    (rpc, "RequestsFetcher", "526b232f1192"),
    (cmdline_parser.CmdlineParser, "get_task_obj", "729fe3723471"),
    (server, "RPCHandler", "3d577f36446e"),
    (server, "MetricsHandler", "694f5c85b7f7"),
    (scheduler.SimpleTaskState, "set_state", "94526cb8f4a8"),
    (scheduler.SimpleTaskState, "get_state", "2dcb4e2d61d1"),
)
# What an object has once it is made: its class, and the names of its attributes.
ATTRIBUTES: tuple[tuple[type, tuple[str, ...]], ...] = (
    (
        worker.Worker,
        (
            "_scheduler",
            "_id",
            "_assistant",
            "_running_tasks",
            "_scheduled_tasks",
            "_config",
            "_stop_requesting_work",
            "_task_result_queue",
            "_idle_since",
            "_get_work_response_history",
            "_add_task_history",
        ),
    ),
    (worker.TaskStatusReporter, ("_scheduler",)),
    (
        rpc.RemoteScheduler,
        ("_url", "_connect_timeout", "_rpc_retry_attempts", "_rpc_retry_wait", "_rpc_log_retries"),
    ),
    (scheduler.Scheduler, ("_state",)),
    (scheduler.SimpleTaskState, ("_status_tasks", "_metrics_collector")),
    (server.RPCHandler, ("_scheduler", "_cors_config")),
    (server.MetricsHandler, ("_scheduler",)),
    (task_history.StoredTask, ("_task",)),
)
LUIGI = (
    cmdline_parser,
    db_task_history,
    interface,
    metrics,
    prometheus_metric,
    rpc,
    scheduler,
    server,
    task_history,
    worker,
)


@cache
def source_of(owner: Any) -> str:
    return textwrap.dedent(inspect.getsource(owner))


def digest_of(owner: Any, name: str) -> str | None:
    """Return what tells a piece of code from another, as it stands in its file; None if it is not there."""
    source = source_of(owner)
    top = ast.parse(source)
    for one in top.body[0].body if isinstance(owner, type) else top.body:  # type: ignore[attr-defined]
        if getattr(one, "name", None) == name:
            lines = (ast.get_source_segment(source, one) or "").splitlines()
            text = "\n".join(line.strip() for line in lines if line.strip())
            return hashlib.sha256(text.encode()).hexdigest()[:12]
    return None


@pytest.mark.parametrize(("owner", "name", "digest"), CODE, ids=[name for _, name, _ in CODE])
def test_what_is_used_of_luigi_without_its_word_is_as_it_was_when_it_was_looked_at(
    owner: Any, name: str, digest: str
) -> None:
    assert digest_of(owner, name) == digest, f"{owner.__name__}.{name} is gone, or another than it was"


@pytest.mark.parametrize(("owner", "names"), ATTRIBUTES, ids=[owner.__name__ for owner, _ in ATTRIBUTES])
def test_what_is_used_of_luigis_objects_is_there(owner: type, names: tuple[str, ...]) -> None:
    assert set(names) <= assigned(owner)


@cache
def assigned(owner: type) -> set[str]:
    """Return the private attributes that the methods of a class give to its objects."""
    tree = ast.parse(source_of(owner))
    return {
        one.attr
        for one in ast.walk(tree)
        if isinstance(one, ast.Attribute) and isinstance(one.ctx, ast.Store) and is_self(one)
        if PRIVATE.fullmatch(one.attr)
    }


def private_names(tree: ast.AST) -> Iterator[str]:
    """Yield every private name that is touched: as an attribute, a method, an import, or a string."""
    for one in ast.walk(tree):
        if isinstance(one, ast.Attribute):
            found = [one.attr]
        elif isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef)):
            found = [one.name]
        elif isinstance(one, ast.ImportFrom):
            found = [each.name for each in one.names]
        elif isinstance(one, ast.Constant) and isinstance(one.value, str):
            found = [one.value]
        else:
            continue
        yield from (name for name in found if PRIVATE.fullmatch(name))


def test_every_private_name_in_these_modules_is_held_to_luigis_version() -> None:
    held = {name for _, name, _ in CODE} | {name for _, names in ATTRIBUTES for name in names}
    ours = {"_get_task_obj"}
    found = set().union(*(private_names(source_code.parsed(path)) for path in INTERNALS))
    assert found - ours == {name for name in held if PRIVATE.fullmatch(name)}


def of_luigi(module: ModuleType) -> set[str]:
    """Return the private names that a module of Luigi's gives to anything of its own."""
    tree = ast.parse(inspect.getsource(module))
    found = set()
    for one in ast.walk(tree):
        if isinstance(one, (ast.FunctionDef, ast.ClassDef)):
            found.add(one.name)
        elif isinstance(one, ast.Attribute) and isinstance(one.ctx, ast.Store):
            found.add(one.attr)
        elif isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
            found.add(one.id)
    return {name for name in found if PRIVATE.fullmatch(name)}


@cache
def luigis_names() -> set[str]:
    """Return those of all its modules that are made use of."""
    return set().union(*map(of_luigi, LUIGI))


def is_luigis(one: type) -> bool:
    return one.__module__.partition(".")[0] == "luigi"


def own(tree: ast.AST) -> set[int]:
    """Return the places where an object's own attributes, or a class's own, are named."""
    return {id(one) for one in source_code.walk(tree) if isinstance(one, ast.Attribute) and is_self(one)}


def touched_outside(tree: ast.AST) -> set[str]:
    """Return the private names of Luigi's that are touched on anything but an object's own self."""
    without, found = own(tree), set()
    for one in source_code.walk(tree):
        if isinstance(one, ast.Attribute) and id(one) not in without:
            found.add(one.attr)
        elif isinstance(one, ast.ImportFrom) and (one.module or "").startswith("luigi"):
            found |= {each.name for each in one.names}
        elif isinstance(one, ast.Constant) and isinstance(one.value, str):
            found.add(one.value)
    return found & luigis_names()


def touched_inside(module: ModuleType, tree: ast.AST) -> set[str]:
    """Return the private names of Luigi's classes that classes made from them touch, or have as well."""
    found = set()
    for one in source_code.walk(tree):
        made = getattr(module, one.name, None) if isinstance(one, ast.ClassDef) else None
        if made is not None:
            theirs = {
                name for base in made.__mro__ if is_luigis(base) for name in [*vars(base), *assigned(base)]
            }
            found |= set(private_names(one)) & {name for name in theirs if PRIVATE.fullmatch(name)}
    return found


PATHS = [path for path in source_code.modules() if path not in INTERNALS]


def test_no_other_module_touches_a_private_name_of_luigi() -> None:
    found = {}
    for path in PATHS:
        tree, name = source_code.parsed(path), ".".join(path.relative_to(TOP).with_suffix("").parts)
        touched = touched_outside(tree)
        if name.startswith("tasks.") and not name.endswith("__main__"):
            touched |= touched_inside(importlib.import_module(name.removesuffix(".__init__")), tree)
        if touched:
            found[name] = sorted(touched)
    assert found == {}


def test_no_other_module_puts_anything_of_luigis_in_the_place_of_its_own() -> None:
    """As `luigi.rpc.RequestsFetcher = ...`, or by setattr."""
    found = {}
    for path in PATHS:
        here = {
            ast.unparse(one)
            for one in source_code.walk(source_code.parsed(path))
            if isinstance(one, ast.Attribute) and isinstance(one.ctx, ast.Store)
            if ast.unparse(one).startswith("luigi.")
        }
        here |= set(re.findall(r"setattr\(luigi\S*", path.read_text()))
        if here:
            found[str(path.relative_to(TOP))] = here
    assert found == {}


def test_a_module_that_touches_a_private_name_is_found() -> None:
    for code in (
        "scheduler._rpc_retry_attempts = 1",
        "getattr(scheduler, '_state')",
        "from luigi.interface import _WorkerSchedulerFactory",
    ):
        assert touched_outside(ast.parse(code)), code
    module = ModuleType("made")
    code = "class Ours(Theirs):\n    def _run_task(self, task_id):\n        return self._running_tasks\n"
    module.Theirs = worker.Worker  # type: ignore[attr-defined]
    exec(code, vars(module))  # noqa: S102
    assert touched_inside(module, ast.parse(code)) == {"_run_task", "_running_tasks"}


def test_our_names_for_them_are_none_of_luigis() -> None:
    modules = [luigi_internals, luigi_served]
    for made in (made for module in modules for made in vars(module).values()):
        if not isinstance(made, type) or made.__module__ not in [module.__name__ for module in modules]:
            continue
        theirs = [base for base in made.__mro__[1:] if is_luigis(base)]
        names = {name for name in vars(made) if not name.startswith("_")}
        tree = ast.parse("\n".join(source_of(base) for base in theirs))
        taken = {one.attr for one in ast.walk(tree) if isinstance(one, ast.Attribute) and is_self(one)}
        taken |= {name for base in theirs for name in vars(base)}
        assert names & taken == set(), made
    assert luigi.__version__ == "3.8.1"


def is_self(one: ast.Attribute) -> bool:
    return isinstance(one.value, ast.Name) and one.value.id in ("self", "cls")


def test_what_a_run_starts_does_not_import_what_the_scheduler_alone_needs() -> None:
    """They take longer to import than the rest of Luigi, and every run, backup and drill would wait."""
    heavy = ("sqlalchemy", "luigi.server", "luigi.db_task_history")
    code = (
        f"import sys, tasks.worker.run, tasks.etl; print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
