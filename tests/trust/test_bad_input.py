"""Whatever is written into a file or typed, it is told with the file or the word; nothing is a bug."""

import contextlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline import catalog, cli, settings
from pipeline.errors import PipelineError
from pipeline.ledger import runs
from tests.support.commands import run as typed

# So many spoilt files of each kind each time, and so many by bin/test --all.
QUICK, ENDURANCE = 40, 3000

SETTINGS = """\
[vault]
url = http://127.0.0.1:8200
auth = approle
role = f3b0
credential_file = secret-id
[warehouse]
secret = warehouse
analyst_secret = warehouse/analyst
[source.hr]
secret = database/creds/hr
address = [::1]:5432/hr?sslmode=require
connections = 2
table_hours = 170
[database.hr]
secret = hr/backup
[backup]
bucket = school
secret = b2/writer
recipients = keys/school.asc,
    keys/safe.asc
keep_days = 14
signers = signers
work_dir = work
[drill]
secret = drill
[alerts]
secret = alerts
form = slack
[analysts]
checkout = ${HOME}/analysts
[run]
step_minutes = 60
[worker]
wait_interval = 1
"""
FILES = {
    "sources/hr.yaml": """\
source: hr
defaults: {schema: public, changes: xmin, deletes: hard}
tables:
  department: {changes: full}
  employee:
    key: [id]
    columns:
      email: {mask: hash, null_rate: {max: 2%, level: warn}}
      grade: {accepted: [A, B], range: {min: 1, max: 9}}
    drift: {dropped: block}
    max_deleted: 10%
    checks:
      - rows: {min: 1, change: 50%}
      - unique: [staff_number]
      - freshness: {column: updated_at, max_age: 2 days}
      - relationship: {columns: [department], to: department, to_columns: [code]}
      - sql: select * from {table} where hired_on > current_date
""",
    "marts/staff.sql": """\
-- Staff by department.
-- materialize: table
SELECT d.code AS department, count(*) AS heads, max(e.hired_on) AS newest
FROM hr.employee AS e JOIN hr.department AS d ON d.code = e.department
WHERE e.grade IN ('A', $$B$$) GROUP BY d.code HAVING count(*) > 1 ORDER BY 2 DESC
""",
    "dashboards/people.yaml": """\
title: People
filters:
  department: {kind: category}
cards:
  - {title: Heads, chart: number, mart: staff, measures: sum(heads), format: {heads: {unit: people}}}
  - {title: By department, chart: row, mart: staff, dimensions: department, measures: heads, order: -heads}
  - {title: Note, text: "*Counted* nightly"}
""",
}
# What stands in place of a word, or between two.
ODD = (
    "",
    " ",
    "\t",
    "\x00",
    "\x1b[31m",
    "\ufeff",
    "\u202e",
    "\u2028",
    "é" * 70,
    "'",
    '"',
    "%",
    "%(x)s",
    "${",
    "${X}",
    "{",
    "}",
    "[",
    "]",
    "[[",
    ": ",
    "- ",
    "#",
    "&a",
    "*a",
    "<<: *a",
    "!!python/name:os.system",
    "!!binary x",
    "|",
    ">-",
    "~",
    "null",
    "yes",
    "0x1f",
    "1e999",
    "9" * 400,
    "-1",
    ".nan",
    "2026-13-45",
    "$$",
    "--",
    "/*",
    ";",
    "\\",
    "\\x",
    "../../etc",
    "a" * 70_000,
    "{{x}}",
    "[" * 300,
    "{a: " * 300,
    "(" * 300,
    "SELECT " * 50,
    "WITH RECURSIVE x AS (SELECT 1) ",
    "\r\n",
    "\r",
    "\ud7ff",
    "\U0001d518",
    "DROP TABLE x; ",
    "$1",
    "::int",
    "E'\\'",
    "U&'\\0041'",
    "NaN",
    "infinity",
)


def spoilt(chance: random.Random, text: str) -> bytes:
    """Return a text with something missing, twice, elsewhere, or of another kind."""
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        lines = text.split("\n")
        at, place = chance.randrange(len(lines)), chance.randrange(len(text) + 1)
        match chance.randrange(8):
            case 0:
                del lines[at]
                text = "\n".join(lines)
            case 1:
                lines.insert(chance.randrange(len(lines) + 1), lines[at])
                text = "\n".join(lines)
            case 2:
                lines[at] = " " * chance.randrange(6) + lines[at].lstrip()
                text = "\n".join(lines)
            case 3:
                text = text[:place] + chance.choice(ODD) + text[place:]
            case 4:
                text = text[:place] + text[place + chance.randrange(9) :]
            case _:
                words = lines[at].split(" ")
                words[chance.randrange(len(words))] = chance.choice(ODD)
                lines[at] = " ".join(words)
                text = "\n".join(lines)
    data = text.encode()
    if chance.random() < 0.05:
        place = chance.randrange(len(data) + 1)
        data = data[:place] + chance.choice((b"\xff\xfe", b"\x80", b"\xed\xa0\x80")) + data[place:]
    return data


def wrong(seed: int, read: Callable[[], object], names: str) -> list[str]:
    """Return what is wrong with how a file is read: it is fine, or told with its name."""
    try:
        read()
    except PipelineError as error:
        told = str(error)
        if error.exit_code != 2 or names not in told or "Traceback" in told:
            return [f"seed {seed}: {type(error).__name__}: {told[:300]!r}"]
    except Exception as error:  # noqa: BLE001 - which is what this looks for
        return [f"seed {seed}: a bug: {error!r:.300}"]
    return []


def deep(number: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("number", [QUICK, pytest.param(number, marks=pytest.mark.endurance)])


@deep(ENDURANCE)
def test_whatever_is_in_luigi_cfg_is_told_with_its_place(tmp_path: Path, number: int) -> None:
    path, found = tmp_path / "luigi.cfg", []
    for seed in range(number):
        path.write_bytes(spoilt(random.Random(seed), SETTINGS))  # noqa: S311 - to be the same again
        found += wrong(seed, lambda: settings.read([path], {"HOME": "/home/x"}), str(path))
    assert "\n".join(found) == ""


@deep(ENDURANCE)
@pytest.mark.parametrize("name", FILES)
def test_whatever_is_in_a_file_of_the_analysts_is_told_with_its_name(
    tmp_path: Path, name: str, number: int
) -> None:
    for file, text in FILES.items():
        path = tmp_path / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    catalog.read_repository(tmp_path)
    found = []
    # What a broken source or mart leaves undeclared is told of what reads it as well.
    names = name if name.startswith("dashboards") else "/"
    for seed in range(number // 2):
        (tmp_path / name).write_bytes(spoilt(random.Random(seed), FILES[name]))  # noqa: S311
        found += wrong(seed, lambda: catalog.read_repository(tmp_path), names)
    assert "\n".join(found) == ""


def test_a_run_is_a_date_or_it_is_told() -> None:
    chance, found = random.Random(7), []  # noqa: S311 - to be the same again
    for seed in range(500):
        text = spoilt(chance, "2026-11-22T1430").decode(errors="replace")
        found += wrong(seed, lambda text=text: runs.parse(text), "run")  # type: ignore[misc]
    assert "\n".join(found) == ""


def words() -> Iterator[str]:
    """Yield what is typed: every command, and every chain."""
    yield from cli.COMMANDS
    yield from (f"run {name}" for name in cli.chain_commands())


@deep(20)
def test_whatever_is_typed_behind_a_command_is_told_as_usage(
    number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    known = (
        "--run",
        "--json",
        "--table",
        "--workers",
        "--at",
        "--into",
        "--month",
        "--from",
        "--help-me",
        "--",
        "-",
    )
    chance, found = random.Random(11), []  # noqa: S311 - to be the same again
    for command in words():
        for seed in range(1 if number == QUICK else number):
            rest = chance.choices(known, k=chance.randrange(1, 5))
            try:
                cli._parsed([*command.split(), *rest])
            except SystemExit as ended:
                if ended.code not in (0, 2):
                    found.append(f"{command} {rest!r:.200}: {ended.code}")
            except PipelineError as error:
                if error.exit_code != 2:
                    found.append(f"{command} {rest!r:.200}: {error}")
            except Exception as error:  # noqa: BLE001 - which is what this looks for
                found.append(f"{command} {seed} {rest!r:.200}: a bug: {error!r}")
    capsys.readouterr()
    assert "\n".join(found) == ""


@pytest.mark.endurance
def test_bytes_that_are_no_text_are_told_as_usage(tmp_path: Path) -> None:
    for arguments in (["status", "--run", "\udcff"], ["plan", "\udcff\udcfe"], ["validate", "\udcff"]):
        with contextlib.suppress(UnicodeEncodeError):
            ended = typed(arguments, {"LUIGI_CONFIG_PATH": str(tmp_path / "none")}, seconds=60)
            assert (ended.returncode, "Traceback" in ended.stderr) == (2, False), ended.stderr
