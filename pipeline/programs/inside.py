"""What is confined: `python -m pipeline.programs.inside check|run NAME DATE`, with tasks/ in its folder.

It imports the analysts' file and, with `run`, runs its tasks by Luigi, with a scheduler of their own. What is
found goes to standard output as JSON; what their code writes there goes to standard error. The address of the
warehouse comes by standard input, and is kept in memory.
"""

import importlib.util
import inspect
import json
import logging
import os
import sys
import traceback
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import luigi
from luigi.execution_summary import LuigiStatusCode

from pipeline import analysts
from pipeline.programs.order import Order

FOLDER = "tasks"
DATE = "date"
PREFIX = "analysts_"
MOST_SHOWN, LONGEST = 10, 500
FORM = "%(asctime)s %(levelname)s %(message)s"
FAILURES = (
    luigi.Event.FAILURE,
    luigi.Event.BROKEN_TASK,
    luigi.Event.PROCESS_FAILURE,
    luigi.Event.TIMEOUT,
    luigi.Event.DEPENDENCY_MISSING,
)
SUCCEEDED = (LuigiStatusCode.SUCCESS, LuigiStatusCode.SUCCESS_WITH_RETRY)


def main(arguments: list[str]) -> int:
    """Do it, and write what is found: `problems`, each with its line, and how many tasks there are."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    order, name, day = arguments
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=FORM)
    if address := sys.stdin.read():
        analysts.hold(json.loads(address))
    folder = Path.cwd() / FOLDER
    problems: list[tuple[int, str]] = []
    tasks: list[luigi.Task] = []
    try:
        tasks = _tasks(_load(folder, name), date.fromisoformat(day))
        if not tasks:
            problems = [
                (1, f"has no task to start with: one whose parameters all have defaults, except `{DATE}`")
            ]
    except BaseException as error:  # noqa: BLE001 - whatever a stranger's module raises
        traceback.print_exc()
        problems = [_problem_of(error, folder)]
    if order == Order.RUN and not problems:
        problems = _run(tasks, folder)
    shortened = [(line, " ".join(what.split())[:LONGEST]) for line, what in problems[:MOST_SHOWN]]
    with out:
        json.dump({"problems": shortened, "tasks": len(tasks)}, out)
    return 1 if problems else 0


def _load(folder: Path, name: str) -> ModuleType:
    # Behind Python's own, and under a name of ours: a file of theirs takes no library's place.
    sys.path.append(str(folder))
    spec = importlib.util.spec_from_file_location(f"{PREFIX}{name}", folder / f"{name}.py")
    assert spec is not None  # noqa: S101 - it is a .py
    assert spec.loader is not None  # noqa: S101 - likewise
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    spec.loader.exec_module(module)
    return module


def _tasks(module: ModuleType, day: date) -> list[luigi.Task]:
    """Return the tasks that can be made of what is defined in that file, with no more than the date."""
    tasks = []
    for name, one in vars(module).items():
        if not isinstance(one, type) or not issubclass(one, luigi.Task) or one.__module__ != module.__name__:
            continue
        if name.startswith("_") or inspect.isabstract(one):
            continue
        parameters: dict[str, Any] = dict(one.get_params())
        if {key for key, value in parameters.items() if not _has_default(one, key, value)} <= {DATE}:
            tasks.append(one(**({DATE: day} if DATE in parameters else {})))
    return tasks


def _has_default(task: type[luigi.Task], name: str, parameter: Any) -> bool:
    return bool(parameter.has_task_value(task.get_task_family(), name))


def _run(tasks: list[luigi.Task], folder: Path) -> list[tuple[int, str]]:
    problems: list[tuple[int, str]] = []

    def failed(task: luigi.Task, error: BaseException | str | None = None) -> None:
        line, what = (
            _problem_of(error, folder) if isinstance(error, BaseException) else (1, str(error or "missing"))
        )
        problems.append((line, f"{task.task_family}: {what}"))

    for event in FAILURES:
        luigi.Task.event_handler(event)(failed)
    luigi.configuration.get_config().set("core", "no_configure_logging", "true")
    ended = luigi.build(tasks, local_scheduler=True, workers=1, no_lock=True, detailed_summary=True)
    if not problems and ended.status not in SUCCEEDED:
        problems = [(1, ended.one_line_summary)]
    return problems


def _problem_of(error: BaseException, folder: Path) -> tuple[int, str]:
    """Return the line of theirs at which it was raised, and what it is."""
    frames = traceback.extract_tb(error.__traceback__)
    line = next((one.lineno or 1 for one in reversed(frames) if one.filename.startswith(str(folder))), 1)
    if isinstance(error, SyntaxError) and error.lineno:
        line = error.lineno
    return line, "".join(traceback.format_exception_only(error)).strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
