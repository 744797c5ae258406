"""docs/contributing.md: what is one file there is one file here. Each is added to a copy of the code."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.night import Night
from tests.support.source_code import modules

TOP = Path(__file__).parents[1]
GUIDE = (TOP / "docs" / "contributing.md").read_text()
CHECK = '''
from pipeline.catalog.as_written import named
from pipeline.catalog.check_kinds.kind import TableCheck
from pipeline.catalog.values import ColumnNames


class FilledCheck(TableCheck):
    """One of these columns has a value in each row."""

    usage = "filled: [a, b]"
    holds_if = "one of these columns has a value in each row"

    filled: ColumnNames
    """The columns."""

    @classmethod
    def columns_in(cls, rule):
        return named(rule)

    @classmethod
    def mistakes(cls, rule, masks, tables):
        if set(named(rule)) <= set(masks):
            yield (), "nothing is left to look at; take a column that is not masked"
'''
FORM = """
def body(alert):
    return f"<alert>{alert.summary}</alert>".encode()
"""

COMMAND = """
COMMANDS = {"greet": "say good morning"}


def add_commands(parsers):
    parser = parsers.add_parser("greet", help=COMMANDS["greet"])
    parser.add_argument("name")
    parser.set_defaults(command=greet)


def greet(arguments):
    print(f"good morning, {arguments.name}")
    return 0
"""


ROOM = """
from pipeline import access, ledger
from pipeline.chains import CHAINS
from pipeline.ledger import lease
from pipeline.step import Record, StepKey


def key_of(run):
    return StepKey(run, CHAINS[-1].root, "hall")


def is_tidy(settings, run):
    with access.brief(settings).warehouse(autocommit=True) as warehouse:
        step = ledger.find_step(warehouse, key_of(run))
    return step is not None and step.done


def tidy(settings, run):
    with access.opened(settings) as databases, databases.warehouse(autocommit=True) as beside:
        with lease.attempted(beside, key_of(run)) as attempt, databases.warehouse() as warehouse:
            attempt.finish(warehouse, 7, Record())
            warehouse.commit()
"""
TASKS = """
from pipeline import tidying
from tasks import events
from tasks.step import Done, RunParameter, Step, configured, today


class TidyHall(Step):
    task_namespace = ""
    logical_date = RunParameter(default=today())

    def output(self):
        return Done("the tidy hall", lambda: tidying.is_tidy(configured(), self.logical_date))

    def run(self):
        tidying.tidy(configured(), self.logical_date)
"""
ENTRY = """
HALL = Part((), "the hall", "pipeline run {chain} --run {run}")
TIDY = Chain("tidy", "tasks.tidy", (Task("TidyHall", HALL, concludes=True),), help="tidy the hall")
CHAINS = (*CHAINS, TIDY)
"""


@pytest.fixture
def extended(tmp_path: Path) -> Path:
    """The library with a kind of check, a form of alerts and a command more; return where it is."""
    shutil.copytree(TOP / "pipeline", tmp_path / "pipeline")
    (tmp_path / "pipeline" / "catalog" / "check_kinds" / "filled.py").write_text(CHECK)
    (tmp_path / "pipeline" / "alerts" / "forms" / "xml.py").write_text(FORM)
    (tmp_path / "pipeline" / "cli" / "oncall" / "greet.py").write_text(COMMAND)
    shutil.copytree(TOP / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("*.png"))
    shutil.copy(TOP / "README.md", tmp_path)
    return tmp_path


def python(extended: Path, code: str, environment: Mapping[str, str] = os.environ) -> str:
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env={**environment, "PYTHONPATH": str(extended)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_kind_of_check_and_a_form_of_alerts_are_one_file_each(extended: Path) -> None:
    repository = extended / "analysts"
    (repository / "sources").mkdir(parents=True)
    (repository / "sources" / "hr.yaml").write_text(
        "source: hr\ntables:\n  a: {checks: [filled: [x, y]]}\n"
        "  b: {columns: {x: {mask: 'null'}}, checks: [filled: x]}\n  c: {only: [z], checks: [fild: x]}\n"
    )
    told = python(
        extended,
        "from pathlib import Path\nfrom pipeline import catalog\nfrom pipeline.catalog import schema\n"
        "from pipeline.errors import ProblemsError\n"
        f"try: catalog.read(Path({str(repository)!r}))\n"
        "except ProblemsError as error: print(error)\n"
        "print('FilledCheck' in schema.text())\n",
    )
    assert "hr.yaml:4: tables.b.checks[0]: nothing is left to look at" in told
    assert "hr.yaml:5: tables.c.checks[0]: fild is not a kind of check; did you mean filled?" in told
    assert "tables.a" not in told
    assert told.endswith("True\n")
    python(extended, "import runpy; runpy.run_module('pipeline.catalog.schema', run_name='__main__')")
    guide, readme = (extended / name for name in ("docs/analysts.md", "README.md"))
    assert "| `filled: [a, b]` | one of these columns has a value in each row |\n" in guide.read_text()
    assert re.search(
        r"^\| `checks` \|.* `filled: \[a, b\]`,.*beside it \|$", readme.read_text(), re.MULTILINE
    )
    assert "FilledCheck" in (extended / "docs" / "source.schema.json").read_text()
    sent = python(
        extended,
        "from pipeline.alerts import Alert, forms\nfrom pipeline.settings.sections import AlertSettings\n"
        "own = AlertSettings.model_validate({'secret': 'alerts', 'form': 'xml'})\n"
        "alert = Alert(key='etl/hr', kind='failed', summary='it failed')\n"
        "print(forms.body(alert, own.form).decode())\n",
    )
    assert sent == "<alert>it failed</alert>\n"


def test_a_command_is_one_file(extended: Path) -> None:
    call = "from pipeline.cli import main; raise SystemExit(main({}))"
    assert python(extended, call.format(["greet", "Ada"])) == "good morning, Ada\n"
    assert re.search(r"^ +greet +say good morning$", python(extended, call.format(["--help"])), re.MULTILINE)


def test_a_chain_is_its_room_its_tasks_and_its_entry(extended: Path, night: Night) -> None:
    """It is found, run, judged and shown by these three files."""
    shutil.copytree(TOP / "tasks", extended / "tasks")
    (extended / "pipeline" / "tidying").mkdir()
    (extended / "pipeline" / "tidying" / "__init__.py").write_text(ROOM)
    (extended / "tasks" / "tidy.py").write_text(TASKS)
    with (extended / "pipeline" / "chains" / "declared.py").open("a") as file:
        file.write(ENTRY)
    call = "from pipeline.cli import main; main(['run', {}])"
    listed = python(extended, call.format("'--help'"), night.platform.env)
    assert re.search(r"^ +tidy +tidy the hall$", listed, re.MULTILINE)
    printed = python(extended, call.format("'tidy', '--run', '2026-11-22'"), night.platform.env)
    assert printed.splitlines()[-1] == "run 2026-11-22 of tidy: 1 step done"
    assert night.ask("warehouse", "SELECT name, state, rows FROM ops.step WHERE task = 'TidyHall'") == [
        ("hall", "done", 7)
    ]


def test_every_file_and_folder_that_the_guide_names_is_there() -> None:
    named = re.findall(r"`((?:pipeline|tasks|tests|bin|docs|\.ci)/[\w./]*)`", GUIDE)
    assert len(named) > 10
    assert [name for name in named if not (TOP / name).exists()] == []


def test_no_room_has_more_files_than_can_be_seen_at_once() -> None:
    """But for the migrations: there is one for each change of the ledger's tables."""
    rooms = Counter(
        path.parent.relative_to(TOP)
        for top in ("pipeline", "tasks")
        for path in (TOP / top).rglob("*.py")
        if path.parent.name != "versions"
    )
    assert len(rooms) > 30
    assert {str(room): files for room, files in rooms.items() if files > 15} == {}


def test_no_module_is_longer_than_300_lines() -> None:
    """A longer one is two things by then. A file of tests may be: it has the cases of one thing."""
    lengths = {path.relative_to(TOP): len(path.read_text().splitlines()) for path in modules()}
    assert {str(path): lines for path, lines in lengths.items() if lines > 300} == {}
