"""What is to be fixed stands in an error's hint, apart from what happened, and goes with it everywhere."""

import ast
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline import errors
from pipeline.alerts import failures, forms, hints
from pipeline.backup.work import attempts
from pipeline.backup.work.work_folder import Work
from pipeline.errors import PipelineError, StepError
from pipeline.observe.observed.observations import (
    Failing,
    LedgerObservations,
    Observations,
    TableObservations,
)
from pipeline.observe.watch import sending
from pipeline.observe.watch.finding import Finding, Severity
from pipeline.observe.watch.opened import judge
from pipeline.settings import BackupSettings, Settings
from tests.support import source_code

PACKAGE = Path(errors.__file__).parent
KINDS = {
    name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, PipelineError)
}
# How advice begins.
WORDS = (
    "check|choose|correct|drop|free|give|GRANT|install|look|make|fix|move|name|put|remove|rename|restore|run|see|"
    "set|start|take|type|unseal|use|wait|write"
)
ADVICE = re.compile(rf"(?:; |: )(?:{WORDS}) ")
# Lists of problems of files, each with file and line, are no steps'; nor are the sandbox's own words.
OTHERS = ("catalog", "sandbox", "settings", "nomad", "cli")


def messages() -> Iterator[tuple[str, str]]:
    """Return what each error of the library says before its hint, with where."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).parts[0] in OTHERS:
            continue
        for node in source_code.walk(source_code.parsed(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KINDS:
                for argument in node.args:
                    words = [
                        part.value if isinstance(part, ast.Constant) else "X"
                        for part in (argument.values if isinstance(argument, ast.JoinedStr) else [argument])
                    ]
                    yield f"{path.relative_to(PACKAGE)}:{node.lineno}", "".join(map(str, words))


def test_no_error_of_a_step_has_its_advice_in_the_fact() -> None:
    found = [f"{where}: {said}" for where, said in messages() if ADVICE.search(said)]
    assert found == []


def test_what_no_attempt_at_the_same_run_can_mend_is_done_as_another_run() -> None:
    """The bucket has something else under that run's name: the same command would fail for ever."""
    error = StepError("its name is taken", hint="find out by whom", again=errors.ANOTHER_RUN)
    alert = failures.backup("hr", "2026-11-22").failed("DumpDatabase", error)
    assert re.fullmatch(r"pipeline run backup hr --run \d{4}-\d\d-\d\dT\d{4}", alert.command or ""), (
        alert.command
    )
    assert alert.hint == "find out by whom"


def test_a_hint_is_a_field_of_its_own_in_each_form_of_an_alert() -> None:
    error = StepError("its dump does not fit the disk", hint="make room <there>")
    alert = failures.backup("hr", "2026-11-22").failed("DumpDatabase", error)
    assert (alert.error, alert.hint) == ("its dump does not fit the disk", "make room <there>")
    assert alert.command == "pipeline rerun --run 2026-11-22 backup/hr"
    assert json.loads(forms.body(alert, "json"))["hint"] == "make room <there>"
    lines = json.loads(forms.body(alert, "slack"))["text"].splitlines()
    assert [*lines[1:2], *lines[3:]] == [
        "> its dump does not fit the disk",
        "first: make room &lt;there&gt;",
        "`pipeline rerun --run 2026-11-22 backup/hr`",
    ]


def test_a_backup_that_failed_keeps_its_hint(tmp_path: Path) -> None:
    home = tmp_path / "work"
    settings = BackupSettings.model_validate(
        {"bucket": "school", "secret": "backup", "recipients": [home, tmp_path], "work_dir": home}
    )
    folder = Work(settings, "hr", "2026-11-22")

    def work() -> None:
        with folder.step("DumpDatabase"):
            raise StepError("pg_dump is older than the server", hint="install the client of 18")

    with pytest.raises(StepError):
        work()
    (step,) = attempts.backups(settings, "hr")
    assert (step.error, step.hint) == ("pg_dump is older than the server", "install the client of 18")
    assert str(hints.of_step(step)).startswith("install the client of 18, then pipeline rerun --run ")


def test_watch_tells_the_hint_and_from_which_step_on() -> None:
    at = datetime(2026, 11, 22, 3, tzinfo=UTC)
    last = Failing("LoadTable", "2026-11-22", "5 rows too few", 3, at, 1, "write 'changes: full'", "extract")
    observations = Observations(
        ledger=LedgerObservations(tables={"hr.employee": TableObservations(failing=last)})
    )
    (finding,) = judge(observations, [], [])
    assert (finding.hint, finding.command) == (
        "write 'changes: full'",
        "pipeline rerun --run 2026-11-22 --from extract hr.employee",
    )
    assert finding.text.endswith(f"next: write 'changes: full', then {finding.command}")
    stale = Finding("watch/table/hr.employee", Severity.STALE, "too old", finding.command, hint=finding.hint)
    assert sending.alert_of(Settings.model_construct(**{}), stale).hint == finding.hint
