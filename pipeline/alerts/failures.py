"""What is told of a failure: the same alert, under the same key, whoever of us notices it first."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline import links
from pipeline.alerts import remedy
from pipeline.alerts.message import Alert, Kind, one_line
from pipeline.errors import PipelineError
from pipeline.settings import Settings

# The last line of a traceback, in what a program has written.
_EXCEPTION = re.compile(r"(?:[\w.]+\.)?[A-Z]\w*(?:Error|Exception|Exit|Interrupt|Missing\w*|Expired)\b.*")
# The keys of alerts about public keys begin so, whoever looks at them; then follows the name of the file.
KEYS = "watch/key/"
# A message of more lines than this has somebody's log in it.
FEW_LINES = 3


@dataclass(frozen=True)
class Thing:
    """Something that can fail: its key, what people call it, its run, and what to type when it has failed.

    `steps_of` is what the ledger calls that whose steps they are, such as hr.employee; None for a whole run.
    """

    key: str
    name: str
    command: str
    run: str | None = None
    steps_of: str | None = None

    def alert(
        self, summary: str, error: BaseException | str | None = None, *, kind: Kind = "failed"
    ) -> Alert:
        """Return the alert that says so of this thing."""
        return Alert(
            key=self.key, kind=kind, summary=f"{self.name}: {summary}", error=_said(error), run=self.run,
            command=self.command,
        )  # fmt: skip

    def failed(self, task: str, error: BaseException | str | None, exit_code: int | None = None) -> Alert:
        """Return the alert that one of its tasks failed, with what to do about such an error."""
        alert = self.alert(f"{task} failed", error)
        more: dict[str, str | None] = {"task": task}
        if self.run and self.steps_of:
            code = getattr(error, "exit_code", exit_code)
            what = remedy.find(self.run, task, self.steps_of, code, alert.error)
            more["command"] = what.command
            if what.before and alert.error:
                more["error"] = one_line(f"{alert.error}; first {what.before}")
        return alert.model_copy(update=more)


def linked(settings: Settings, alert: Alert, family: str, parameters: Mapping[str, str]) -> Alert:
    """Return an alert with links to the Luigi task of that family and those parameters, and to its log."""
    urls = {
        "task_url": links.task_url(settings, family, parameters),
        "log_url": links.log_url(settings, family, parameters),
    }
    return alert.model_copy(update=urls)


def load(run: str | None, source: str | None = None, table: str | None = None) -> Thing:
    """Return a whole load, or one of a source or of a table alone.

    >>> load("2026-11-22").key, load("2026-11-22", "hr").key
    ('run/etl', 'run/etl/hr')
    """
    options = {"--source": source, "--table": table, "--run": run}
    return _whole("etl", [source, table], run, options)


def drills(month: str | None, database: str | None = None) -> Thing:
    """Return the drills of a month, or that of one database as it was started alone."""
    return _whole("drill", [database], month, {"": database, "--month": month})


def _whole(
    chain: str, scope: Sequence[str | None], run: str | None, options: Mapping[str, str | None]
) -> Thing:
    names = [name for name in scope if name]
    words = [word for option, value in options.items() if value for word in (option, value) if word]
    return Thing(
        "/".join(["run", chain, *names]),
        " ".join(["run", chain, *names, *([run] if run else [])]),
        shlex.join(["pipeline", "run", chain, *words]),
        run,
    )


def table(source: str, name: str, run: str) -> Thing:
    """Return a table of a source, in a run."""
    full = f"{source}.{name}"
    return Thing(f"etl/{full}", full, f"pipeline rerun --run {run} {full}", run, full)


def source(name: str, run: str) -> Thing:
    """Return a source, in a run."""
    return Thing(f"etl/{name}", f"source {name}", f"pipeline rerun --run {run} {name}", run, name)


def loaded(name: str, run: str) -> Thing:
    """Return a table, or a source, by the name that the ledger has for it.

    >>> loaded("hr.employee", "2026-11-22").key, loaded("hr", "2026-11-22").key
    ('etl/hr.employee', 'etl/hr')
    """
    of, _, own = name.partition(".")
    return table(of, own, run) if own else source(of, run)


def backup(database: str, run: str | None) -> Thing:
    """Return the backup of a database, in a run."""
    command = f"pipeline run backup {database}" + (f" --run {run}" if run else "")
    return Thing(f"backup/{database}", f"backup of {database}", command, run, database)


def drill(database: str, month: str | None) -> Thing:
    """Return the restore drill of a database, in a month."""
    command = f"pipeline run drill {database}"
    return Thing(f"drill/{database}", f"drill of {database}", command, month, database)


def typed(arguments: Sequence[str]) -> Thing:
    """Return what `pipeline ARGUMENTS` is about, as far as that can be told of a command that was mistyped.

    >>> typed(["run", "backup", "hr", "--rnu", "x"]).key, typed(["run", "etl", "--wrokers", "2"]).key
    ('backup/hr', 'run/etl')
    """
    words = [*arguments[1:3], "", ""]
    name = words[0] if words[0] and not words[0].startswith("-") else "?"
    command = shlex.join(["pipeline", *arguments])
    named = words[1] and not words[1].startswith("-")
    if name == "backup" and named:
        return Thing(f"backup/{words[1]}", f"backup of {words[1]}", command)
    if name == "drill" and named:
        return Thing(f"run/drill/{words[1]}", f"run drill {words[1]}", command)
    return Thing(f"run/{name}", f"run {name}", command)


def _said(error: BaseException | str | None) -> str | None:
    """Return the error's own line: of somebody's log, the last exception in it and its end."""
    if error is None:
        return None
    if isinstance(error, BaseException) and not isinstance(error, PipelineError):
        return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) <= FEW_LINES:
        return "; ".join(lines)
    last = lines[-2:]
    raised = [line for line in lines if _EXCEPTION.fullmatch(line)][-1:]
    return "; ".join([*(line for line in raised if line not in last), *last])
