"""`pipeline validate`: a whole analysts' repository is checked without any server or settings."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from pipeline import cli
from pipeline.confine import copies
from pipeline.errors import UsageError
from pipeline.programs import check
from tests.support import commands
from tests.support.platforms import Platform

PROJECT = Path(__file__).parents[1]


def validate(
    *arguments: str, folder: Path, environment: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run the command, by default where there are no settings and no Vault."""
    environment = environment or {
        key: value for key, value in os.environ.items() if key not in ("LUIGI_CONFIG_PATH", "VAULT_ADDR")
    }
    return commands.run(["validate", *arguments], environment, seconds=60, folder=folder)


def write(folder: Path, **files: str) -> None:
    """Write files; `sources_hr_yaml` is sources/hr.yaml."""
    for name, text in files.items():
        place, stem, ending = name.split("_")
        path = folder / place / f"{stem}.{ending}"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


GOOD = {
    "sources_hr_yaml": "source: hr\ntables: {employee: , department: {history: true}}\n",
    "sources_crm_yaml": "source: crm\ntables: {customer: }\n",
    "marts_staff_sql": "-- materialize: table\nselect * from hr.employee, hr.department_history\n",
    "dashboards_staff_yaml": "title: Staff\n"
    "cards: [{title: All, chart: bar, mart: staff, dimensions: name, measures: n}]\n",
    "tasks_extra_py": "import luigi\n\n\nclass Extra(luigi.Task):\n    pass\n",
}


def test_the_example_is_valid(tmp_path: Path) -> None:
    done = validate(str(PROJECT / "examples" / "analysts"), folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(": no problem found\n")


def test_what_was_found_is_said_in_one_line(tmp_path: Path) -> None:
    """In the folder that it is typed in, where none is named."""
    write(tmp_path, **GOOD)
    done = validate(folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "2 sources, 3 tables, 1 mart, 1 dashboard, 1 file of tasks: no problem found\n"


def test_every_problem_of_every_kind_of_file_is_told_at_once(tmp_path: Path) -> None:
    write(
        tmp_path,
        sources_hr_yaml="source: hr\ntables:\n  employee:\n    chek: 1\n",
        sources_crm_yaml="source: crm\ntables: {customer: }\n",
        marts_staff_sql="select *\nfrom crm.custmer",
        dashboards_staff_yaml="title: S\ncards:\n- title: All\n  chart: bra\n  mart: staf\n- {title: A}\n",
        tasks_extra_py="import luigi\nclass Extra(:\n",
    )
    done = validate(folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[:7] == [
        "pipeline: sources/hr.yaml:4: tables.employee.chek: unknown key; did you mean checks?",
        "pipeline: marts/staff.sql:2: crm.custmer: no such table (did you mean customer?); "
        "to load it, add it to sources/crm.yaml",
        "pipeline: dashboards/staff.yaml:4: cards[0].chart: must be table, number, line, bar, area, pie, row "
        "or scatter; did you mean bar?",
        "pipeline: dashboards/staff.yaml:5: cards[0].mart: no such mart; did you mean staff?",
        "pipeline: dashboards/staff.yaml:6: cards[1]: needs either sql, mart or text; write one of them",
        "pipeline: tasks/extra.py:2: is not valid Python: invalid syntax; correct it",
    ]


@pytest.mark.parametrize("folder", ["nowhere", "."])
def test_a_folder_that_is_no_repository_is_told(tmp_path: Path, folder: str) -> None:
    done = validate(folder, folder=tmp_path)
    assert done.returncode == 2
    assert "holds no .yaml file; write one for each source, or name another folder" in done.stderr


def test_tasks_are_imported_where_they_can_do_nothing(tmp_path: Path) -> None:
    """They are the analysts' own programs, and this command may run anywhere."""
    write(tmp_path, **GOOD)
    (tmp_path / "tasks" / "extra.py").write_text("open('was run', 'w')\n")
    done = validate(folder=tmp_path)
    if "compiled but not imported" in done.stdout:
        pytest.skip("this machine permits no namespaces")
    assert (done.returncode, done.stderr.partition("Error")[0]) == (
        2,
        "pipeline: tasks/extra.py:1: OS",
    )
    assert not (tmp_path / "was run").exists()
    assert not (tmp_path / "tasks" / "was run").exists()
    assert not list(tmp_path.rglob("__pycache__"))


def test_problems_are_annotations_of_a_pull_request_or_json(tmp_path: Path) -> None:
    write(tmp_path, sources_hr_yaml="source: hr\ntables:\n  employee:\n    chek: 1\n")
    told = "tables.employee.chek: unknown key; did you mean checks?"
    done = validate("--format", "github", folder=tmp_path)
    assert (done.returncode, done.stderr) == (2, "")
    assert done.stdout == f"::error file=sources/hr.yaml,line=4::{told}\n"
    done = validate("--format", "json", folder=tmp_path)
    assert (done.returncode, done.stderr) == (2, "")
    problem = {"file": "sources/hr.yaml", "line": 4, "level": "error", "message": told}
    assert json.loads(done.stdout) == {"problems": [problem]}
    write(tmp_path, **GOOD)
    done = validate("--format", "json", folder=tmp_path)
    assert (done.returncode, json.loads(done.stdout)) == (0, {"problems": []})


@pytest.mark.parametrize("made", ["files", "bytes"])
def test_a_folder_of_tasks_that_is_too_large_is_told_as_that(tmp_path: Path, made: str) -> None:
    """And not as a machine that can confine nothing."""
    write(tmp_path, **GOOD)
    data = tmp_path / "tasks" / "data"
    data.mkdir()
    if made == "files":
        for number in range(copies.MOST_FILES):
            (data / str(number)).touch()
        most = "5,000 files and folders"
    else:
        with (data / "large").open("wb") as file:
            file.truncate(copies.MOST_BYTES)
        most = "64 MiB in its files"
    done = validate(folder=tmp_path)
    told = f"pipeline: tasks: has more than {most}; move other files elsewhere\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", told)


def test_as_many_tasks_as_there_may_be_are_looked_at(tmp_path: Path) -> None:
    write(tmp_path, **GOOD)
    with (tmp_path / "tasks" / "large").open("wb") as file:
        file.truncate(copies.MOST_BYTES - 16 * copies.PAGE_BYTES)
    done = validate(folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_could_not_be_looked_at_is_told_in_every_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, **GOOD)

    def unconfinable(_folder: Path) -> list[str]:
        raise UsageError(
            "the analysts' tasks cannot be confined here: not permitted", hint="run it elsewhere"
        )

    monkeypatch.setattr(check, "problems", unconfinable)
    told = (
        "its tasks were compiled but not imported: the analysts' tasks cannot be confined here: not permitted"
    )
    said = {}
    for form in ("text", "github", "json"):
        assert cli.main(["validate", str(tmp_path), "--format", form]) == 0
        said[form] = capsys.readouterr().out
    assert said["text"].splitlines()[1:] == [told]
    assert said["github"] == f"::warning::{told}\n"
    warning = {"file": None, "line": None, "level": "warning", "message": told}
    assert json.loads(said["json"]) == {"problems": [warning]}


def test_without_a_folder_the_checkout_of_the_settings_is_meant(platform: Platform, tmp_path: Path) -> None:
    """Unless one stands in a repository: on a laptop there are no settings."""
    platform.declare("hr", "source: hr\ntables: {employee: }\n")
    elsewhere, repository = tmp_path / "elsewhere", tmp_path / "repository"
    for folder in (elsewhere, repository):
        folder.mkdir()
    done = validate(folder=elsewhere, environment=platform.env)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{platform.analysts}: 1 source, 1 table, 0 marts, 0 dashboards: no problem found\n"
    write(repository, **GOOD)
    assert validate(folder=repository, environment=platform.env).stdout.startswith("2 sources, 3 tables")
    assert "holds no .yaml file" in validate(folder=elsewhere).stderr


def test_without_a_folder_lineage_is_of_the_checkout_of_the_settings_too(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    platform.declare("hr", "source: hr\ntables: {employee: }\n")
    monkeypatch.chdir(tmp_path)
    for name, value in platform.env.items():
        monkeypatch.setenv(name, value)
    assert cli.main(["lineage", "hr.employee"]) == 0
    assert "hr.employee" in capsys.readouterr().out
