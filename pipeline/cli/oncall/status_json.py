"""`pipeline status --json`: the same for machines."""

from datetime import UTC, datetime
from typing import Any

from pipeline import chains
from pipeline.alerts import hints
from pipeline.observe.overview import Archive, Drill, Overview, Status
from pipeline.redact import redact
from pipeline.step import State, Step


def data(seen: Overview) -> dict[str, Any]:
    """Return everything that was seen as plain data: sizes in bytes, ages in hours, moments in ISO 8601."""
    now = datetime.now(UTC)
    return {
        "run": seen.run.run if seen.run else None,
        "run_state": seen.load_state if seen.run else None,
        "state": seen.state,
        "steps": [_step_data(step) for step in _steps(seen)],
        "failures": [_step_data(step) for step in seen.failures],
        "waiting": [
            {"run": one.key.run, "task": one.key.task, "name": one.key.name, "waits": one.waits}
            for one in seen.waiting
        ],
        "undone": [
            {"run": one.run.run, "error": one.run.error and redact(one.run.error), "tables": list(one.tables)}
            for one in seen.undone
        ],
        "tables": _tables_data(seen),
        "programs": [
            {
                "file": one.file,
                "run": one.run,
                "done_at": _moment(one.done_at),
                "state": one.step.state if one.step else Status.STALE if one.is_stale else Status.OK,
            }
            for one in seen.programs
        ],
        "backups": [
            {
                "database": backup.database,
                "run": backup.run,
                "verified": backup.verified,
                "warnings": list(backup.warnings),
                "size_bytes": backup.size_bytes,
                "age_hours": round((now - backup.taken_at).total_seconds() / 3600, 2)
                if backup.taken_at
                else None,
                "state": Status.STALE if backup.is_stale else Status.OK,
            }
            for backup in seen.backups
        ],
        "archives": [_archive_data(one) for one in seen.archives],
        "drills": [_drill_data(one) for one in seen.drills],
    }


def _archive_data(one: Archive) -> dict[str, Any]:
    repository = one.repository
    return {
        "database": one.database,
        "stanza": repository.stanza,
        "backup": repository.backup.label if repository.backup else None,
        "taken_at": _moment(repository.backup.taken_at if repository.backup else None),
        "wal": repository.wal,
        "archived_at": _moment(repository.archived_at),
        "problems": [redact(problem) for problem in one.problems],
        "state": Status.STALE if one.problems else Status.OK,
    }


def _drill_data(one: Drill) -> dict[str, Any]:
    """Return the newest drill of a database, and when one last held; `from` is as in `run drill --from`."""
    state = Status.STALE if one.is_stale else Status.OK
    return {
        "database": one.database,
        "from": "backup" if one.task == chains.DRILL_TASK else chains.RECOVERED.aspect,
        "month": one.month,
        "grade": one.grade,
        "held": one.held,
        "finished_at": _moment(one.finished_at),
        "held_at": _moment(one.held_at),
        "state": state if one.held else Status.FAILED,
    }


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _tables_data(seen: Overview) -> list[dict[str, Any]]:
    """Return every table that is declared, loaded or not, and what is loaded of others."""
    rows = {table.name: table.rows for table in seen.tables} | {one.name: one.rows for one in seen.fresh}
    states: dict[str, tuple[datetime | None, str | None]] = {
        one.name: (one.as_of, None) for one in seen.fresh
    }
    states |= {table.name: (table.as_of, table.state) for table in seen.tables}
    return [
        {
            "table": name,
            "fresh_as_of": _moment(as_of),
            "rows": rows.get(name),
            "state": state,
            "proved_at": _moment(seen.proofs[name].proved_at if name in seen.proofs else None),
        }
        for name, (as_of, state) in sorted(states.items())
    ]


def _steps(seen: Overview) -> list[Step]:
    """Return every step, the drills that did not hold among them."""
    steps = [*seen.steps, *seen.others]
    return [*steps, *(one for one in seen.failures if one not in steps)]


def _step_data(step: Step) -> dict[str, Any]:
    ended = step.finished_at or datetime.now(UTC)
    return {
        "run": step.key.run,
        "task": step.key.task,
        "name": step.key.name,
        "state": step.state,
        "started_at": step.started_at.isoformat(),
        "seconds": round((ended - step.started_at).total_seconds(), 3),
        "rows": step.rows,
        "error": redact(step.error) if step.error else None,
        "hint": redact(step.hint) if step.hint else None,
        "progress": step.progress if step.state == State.RUNNING else None,
        "next": hints.of_step(step).command if step.state == State.FAILED else None,
    }
