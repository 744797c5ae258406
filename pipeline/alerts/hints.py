"""Hints: what to type where a step failed. Status, the end of a run and alerts all say the same."""

from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline import chains
from pipeline.chains import EXTRACT_TASK, VALIDATE_TASK
from pipeline.errors import ANOTHER_RUN, CheckError
from pipeline.step import Step


@dataclass(frozen=True)
class Hint:
    """The command, and what a person has to do before it, if anything."""

    command: str
    before: str = ""

    def __str__(self) -> str:
        return f"{self.before}, then {self.command}" if self.before else self.command


def of_step(step: Step) -> Hint:
    """Return what to do about a step that failed or was killed."""
    key = step.key
    return find(key.run, key.task, key.name, step.exit_code, step.hint, step.again)


def find(
    run: str,
    task: str,
    name: str,
    exit_code: int | None = None,
    hint: str | None = None,
    again: str | None = None,
) -> Hint:
    """Return what to do about a task of the ledger, such as ExtractTable of hr.employee, that failed so.

    What the error itself says is to be fixed (`hint`) comes first, and from which step on (`again`); where
    the run itself can never end well, the command is that of another one.

    >>> str(find("2026-11-22", "LoadTable", "hr.employee"))
    'pipeline rerun --run 2026-11-22 hr.employee'
    >>> str(find("2026-11-22", "LoadTable", "hr.employee", 3, again="extract"))
    'pipeline rerun --run 2026-11-22 --from extract hr.employee'
    >>> str(find("2026-11-22", "OpenSnapshot", "hr", 5, "correct its uri in Vault"))
    'correct its uri in Vault, then pipeline rerun --run 2026-11-22 hr'
    >>> str(find("2026-11-22", "UploadBackup", "hr", 5))
    'pipeline rerun --run 2026-11-22 backup/hr'
    >>> str(find("2026-11-22", "ApplyDashboards", "dashboards", 4))
    'pipeline dashboards apply'
    """
    chain = chains.find(task)
    if chain and again == ANOTHER_RUN:
        return Hint(chain.command(f"{datetime.now(UTC):%Y-%m-%dT%H%M}", name), hint or "")
    if chain is chains.ANALYSTS:
        return Hint(chain.command(run, name), hint or f"fix tasks/{name}.py")
    if chain and chain.is_plain:
        return Hint(chain.command(run), hint or "")
    if chain is chains.DASHBOARDS:
        return Hint(chains.SURFACE.command, hint or "")
    if task == chains.ARCHIVE_DRILL_TASK:
        return Hint(chains.DRILL.part(chains.RECOVERED, name, run).command, hint or "")
    prefix = "" if chain in (None, chains.ETL, chains.MARTS) else f"{chain.name}/"
    since, before = again, ""
    file = f"sources/{name.partition('.')[0]}.yaml"
    if exit_code == CheckError.exit_code and task == EXTRACT_TASK:
        before = f"decide in {file}"
    elif exit_code == CheckError.exit_code and task == VALIDATE_TASK:
        # What is staged has failed: once it is fixed in the source, it has to be read again.
        since, before = "extract", f"fix the source, or {file}"
    elif task == chains.BUILD_TASK:
        before = f"fix marts/{name.partition('.')[2]}.sql, or what it reads"
    from_ = f" --from {since}" if since else ""
    return Hint(f"pipeline rerun --run {run}{from_} {prefix}{name}", hint or before)


def of_run(run: str, chain: str) -> Hint:
    """Return what to do about a run that died or failed as a whole."""
    declared = chains.named(chain)
    if declared and declared.is_plain:
        return Hint(declared.command(run))
    name = "" if chain == chains.ETL.name else f" {chain}"
    return Hint(f"pipeline rerun --run {run}{name}")
