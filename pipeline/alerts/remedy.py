"""Remedies: what to type where a step failed. Status, the end of a run and alerts all say the same."""

import re
from dataclasses import dataclass

from pipeline import chains
from pipeline.chains import EXTRACT_TASK, LOAD_TASK, VALIDATE_TASK
from pipeline.errors import CheckError, UnreachableError
from pipeline.step import Step

CHECK = "pipeline check"

# Said by Vault itself; others say what to put there.
_VAULT = re.compile(r"(?:^|: )Vault(?: at |: )")
# Rows that were read and do not add up: to load them once more would end the same.
_PROOF = re.compile(r"by the source's snapshot")


@dataclass(frozen=True)
class Remedy:
    """The command, and what a person has to do before it, if anything."""

    command: str
    before: str = ""

    def __str__(self) -> str:
        return f"{self.before}, then {self.command}" if self.before else self.command


def of_step(step: Step) -> Remedy:
    """Return what to do about a step that failed or was killed."""
    return find(step.key.run, step.key.task, step.key.name, step.exit_code, step.error, step.hint)


def find(
    run: str,
    task: str,
    name: str,
    exit_code: int | None = None,
    error: str | None = None,
    hint: str | None = None,
) -> Remedy:
    """Return what to do about a task of the ledger, such as ExtractTable of hr.employee, that failed so.

    What the error itself says is to be mended (`hint`) comes first.

    >>> str(find("2026-11-22", "LoadTable", "hr.employee"))
    'pipeline rerun --run 2026-11-22 hr.employee'
    >>> str(find("2026-11-22", "OpenSnapshot", "hr", 5, "Vault at http://vault is sealed"))
    'pipeline check'
    >>> str(find("2026-11-22", "OpenSnapshot", "hr", 5, "no connection", "correct its uri in Vault"))
    'correct its uri in Vault, then pipeline rerun --run 2026-11-22 hr'
    >>> str(find("2026-11-22", "UploadBackup", "hr", 5, "bucket school: put a new key into Vault"))
    'pipeline rerun --run 2026-11-22 backup/hr'
    """
    if exit_code == UnreachableError.exit_code and _VAULT.search(error or ""):
        return Remedy(CHECK)
    chain = chains.find(task)
    if chain is chains.ANALYSTS:
        return Remedy(chain.command(run, name), hint or f"mend tasks/{name}.py")
    prefix = "" if chain in (None, chains.ETL, chains.MARTS) else f"{chain.name}/"
    again, before = "", ""
    file = f"sources/{name.partition('.')[0]}.yaml"
    if exit_code == CheckError.exit_code and task == EXTRACT_TASK:
        before = f"decide in {file}"
    elif exit_code == CheckError.exit_code and task == VALIDATE_TASK:
        # What is staged has failed: once it is mended in the source, it has to be read again.
        again, before = " --from extract", f"mend the source, or {file}"
    elif task == chains.BUILD_TASK:
        before = f"mend marts/{name.partition('.')[2]}.sql, or what it reads"
    elif task == LOAD_TASK and _PROOF.search(error or ""):
        again = " --from extract"
    return Remedy(f"pipeline rerun --run {run}{again} {prefix}{name}", hint or before)


def of_run(run: str, chain: str) -> Remedy:
    """Return what to do about a run, of etl, that died or failed as a whole."""
    name = "" if chain == chains.ETL.name else f" {chain}"
    return Remedy(f"pipeline rerun --run {run}{name}")
