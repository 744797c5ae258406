"""bin/nomad-deploy: validates, plans and registers the job of each duty; waits until services are healthy."""

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import redact, settings
from pipeline.chains import DutyKind, jobs
from pipeline.chains.jobs import PREFIX, Job
from pipeline.cli import output, terminal
from pipeline.errors import CheckError, PipelineError, StepError, UsageError
from pipeline.nomad import schedules, server, values
from pipeline.nomad.jobs import RESTARTS
from pipeline.nomad.server import Server
from pipeline.nomad.vault_setup import OF_A_JOB

# What `nomad job plan` ends with.
SAME, OTHER = 0, 1
POLL_SECONDS = 2.0
SECONDS_PER_MINUTE = 60


def main(arguments: Sequence[str]) -> int:
    """Do it. Return 0 once Nomad has every job as the files say, or with --plan 4 if it has not."""
    parser = argparse.ArgumentParser(
        prog="bin/nomad-deploy",
        description="Register every job that luigi.cfg asks for, with the values of one file; NOMAD_ADDR and "
        "NOMAD_TOKEN say where, as for `nomad`. Prints each change, and waits until services are healthy.",
    )
    parser.add_argument(
        "--vars", type=Path, required=True, metavar="FILE", help="the values, such as nomad/school.vars.hcl"
    )
    parser.add_argument("--plan", action="store_true", help="only print the changes; 4 if there are any")
    parser.add_argument(
        "--remove", action="store_true", help="stop and remove jobs that are no longer wanted"
    )
    parser.add_argument(
        "--jobs",
        type=Path,
        default=Path("nomad"),
        metavar="FOLDER",
        help="the job files (default: %(default)s)",
    )
    parsed = parser.parse_args(arguments)
    redact.install()
    output.outlive_the_reader()
    for name, value in OF_A_JOB.items():
        os.environ.setdefault(name, value)
    try:
        return _run(parsed)
    except PipelineError as error:
        sys.stderr.write(f"nomad-deploy: {error}\n")
        return error.exit_code


def _run(parsed: argparse.Namespace) -> int:
    configured = settings.read()
    wanted = jobs.wanted(configured)
    nomad = server.nomad()
    ours = values.of_the_scheduler(configured)
    submitted = [(job, _arguments(job, wanted, ours, parsed)) for job in wanted]
    for job, arguments in submitted:
        _nomad("job", "validate", *arguments, of=job)
    _check_schedules(submitted, parsed.vars)
    changed = [(job, arguments) for job, arguments in submitted if _differs(job, arguments)]
    left = sorted(_unwanted(nomad, {job.id for job in wanted}))
    for name in left:
        terminal.print_text(
            f"{name}: luigi.cfg has nothing that needs it" + ("" if parsed.remove else "; --remove stops it")
        )
    if parsed.plan:
        return CheckError.exit_code if changed or (left and parsed.remove) else 0
    for job, arguments in changed:
        _nomad("job", "run", "-detach", *arguments, of=job)
        terminal.print_text(f"{job.id}: registered")
    if parsed.remove:
        for name in left:
            _remove(nomad, name)
    for job, _ in changed:
        if job.duty.kind == DutyKind.SERVICE:
            _until_healthy(nomad, job.id, job.duty.start_minutes * SECONDS_PER_MINUTE)
    terminal.print_text(f"{len(changed)} of {len(wanted)} jobs changed")
    return 0


def _check_schedules(submitted: Sequence[tuple[Job, Sequence[str]]], values: Path) -> None:
    """Raise CheckError that names each schedule which Nomad takes, and goes by otherwise than people read."""
    wrong = []
    for job, arguments in submitted:
        if job.duty.kind == DutyKind.PERIODIC:
            _, printed = _nomad("job", "run", "-output", *arguments, of=job)
            wrong += [f"{job.id}: {problem}" for problem in schedules.of_a_job(json.loads(printed)["Job"])]
    if wrong:
        raise CheckError("\n".join(wrong), hint=f"correct it in {values} under schedules")


def _arguments(
    job: Job, wanted: Sequence[Job], ours: Mapping[str, str], parsed: argparse.Namespace
) -> list[str]:
    if job.database:
        ours = {**ours, "database": job.database, "schedule": job.begins(wanted)}
    more = [f"-var={name}={value}" for name, value in ours.items()]
    return [f"-var-file={parsed.vars}", *more, str(parsed.jobs / f"{job.duty.name}.nomad.hcl")]


def _nomad(*arguments: str, of: Job, expected: Sequence[int] = (0,)) -> tuple[int, str]:
    """Run `nomad`. Raise StepError with what it says, if it ends with another code than expected."""
    program = shutil.which("nomad")
    if program is None:
        raise UsageError(
            "nomad: not found",
            hint="install Nomad's program, or put it on the PATH",
        )
    done = subprocess.run(
        [program, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode not in expected:
        printed = (done.stderr.strip() or done.stdout.strip()).replace("\n", "\n  ")
        raise StepError(
            f"{of.id}: nomad {' '.join(arguments[:2])} ended with {done.returncode}:\n  {printed}"
        )
    return done.returncode, done.stdout


def _differs(job: Job, arguments: Sequence[str]) -> bool:
    """Whether Nomad has another job, or none; say what is other. Raise StepError if it cannot be placed."""
    code, printed = _nomad("job", "plan", "-no-color", *arguments, of=job, expected=(SAME, OTHER))
    lines = printed.splitlines()
    # A job that fits nowhere is planned with the same exit code, and one in this state blocks its clock.
    if any("Failed to place" in line or "WARNING" in line for line in lines):
        raise StepError(f"{job.id}: cannot be placed on any node now:\n  " + "\n  ".join(lines))
    if code == SAME and not any(line.startswith(("+ ", "+/-")) for line in lines):
        return False
    # A new one is shown as what it has, of a changed one only what changes.
    is_new = printed.startswith("+ Job")
    terminal.print_text(f"{job.id}: {'is new' if is_new else 'changes'}")
    if not is_new:
        # What follows is about where it would run.
        shown = itertools.takewhile(lambda line: not line.startswith("Scheduler dry-run"), lines)
        terminal.print_text("\n".join(f"  {line}" for line in shown if line.lstrip().startswith(("+", "-"))))
    return True


def _unwanted(nomad: Server, ids: set[str]) -> Iterator[str]:
    for job in nomad.get(f"jobs?prefix={PREFIX}") or ():
        # A child of a clock or of a dispatch goes with its parent.
        if job["ID"] not in ids and not job.get("ParentID") and job["Status"] != "dead":
            yield job["ID"]


def _remove(nomad: Server, name: str) -> None:
    children = [one["ID"] for one in nomad.get(f"jobs?prefix={name}/") or ()]
    # Purging a parent leaves a pending child behind, which would have its turn later.
    for each in (name, *children):
        nomad.call("DELETE", f"job/{each.replace('/', '%2F')}?purge=true")
    terminal.print_text(f"{name}: removed")


def _until_healthy(nomad: Server, name: str, seconds: float) -> None:
    """Wait for a service. Raise StepError with what its task said if it does not become healthy."""
    ends_at = time.monotonic() + seconds
    job = nomad.get(f"job/{name}") or {}
    if not any(group["Count"] for group in job.get("TaskGroups") or ()):
        terminal.print_text(f"{name}: count is 0, nothing to wait for")
        return
    # For a moment Nomad still has what ran before, healthy or not, as the newest.
    version = job["Version"]
    while time.monotonic() < ends_at:
        deployment = nomad.get(f"job/{name}/deployment")
        is_ours = deployment and deployment["JobVersion"] == version
        status = deployment["Status"] if is_ours else "unknown"
        if status == "successful":
            terminal.print_text(f"{name}: healthy")
            return
        # One that failed is tried again for as long as a deployment may take: that can be told now.
        newest = _newest(nomad, name, version)
        if status in ("failed", "cancelled") or newest.get("ClientStatus") == "failed" or _restarts(newest):
            break
        time.sleep(POLL_SECONDS)
    raise StepError(f"{name}: is not healthy:\n  " + "\n  ".join(_events(nomad, name, version)))


def _restarts(allocation: Mapping[str, Any]) -> bool:
    """Whether a task has ended by itself as often as it is started again at once, and is not there now."""
    states = (allocation.get("TaskStates") or {}).values()
    return any(state["State"] == "pending" and state.get("Restarts", 0) >= RESTARTS for state in states)


def _newest(nomad: Server, name: str, version: int) -> dict[str, Any]:
    allocations: list[dict[str, Any]] = nomad.get(f"job/{name}/allocations") or []
    allocations = [each for each in allocations if each["JobVersion"] == version]
    return max(allocations, key=lambda each: each["CreateTime"], default={})


def _events(nomad: Server, name: str, version: int) -> Iterator[str]:
    for task, state in (_newest(nomad, name, version).get("TaskStates") or {}).items():
        for event in state["Events"][-4:]:
            yield f"{task}: {event['Type']}: {event['DisplayMessage']}"
    yield f"see: nomad job status {name}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
