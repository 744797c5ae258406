"""What is known of every chain: from the ledger and this machine's work folder, or without the ledger.

Every declared table and database with its age, and every failure that is still open, whichever run it was in.
"""

import dataclasses
from datetime import UTC, datetime

from pipeline.access import Access
from pipeline.chains import CONCLUDING
from pipeline.errors import PipelineError
from pipeline.ledger.runs import Run
from pipeline.observe.observed import archive as backups_seen
from pipeline.observe.observed import loads as observed
from pipeline.observe.observed import plain, programs
from pipeline.observe.observed.archive import Backup, Drill
from pipeline.observe.observed.loads import ETL
from pipeline.observe.observed.observations import Program
from pipeline.observe.overview import archive, loads, repositories
from pipeline.observe.overview.model import (
    Overview,
    Status,
    Table,
    Undone,
)
from pipeline.observe.overview.repositories import Archive
from pipeline.observe.watch import limits
from pipeline.observe.watch import programs as ages
from pipeline.postgres import Connection
from pipeline.settings import Settings
from pipeline.step import State

__all__ = [
    "ETL",
    "Archive",
    "Backup",
    "Drill",
    "Overview",
    "Program",
    "Status",
    "Table",
    "Undone",
    "summarize",
    "summarize_without_ledger",
]


def summarize(databases: Access, warehouse: Connection, run: str | None) -> Overview:
    """Return what the ledger and the work folder know: of everything, or of this run alone."""
    settings, now = databases.settings, datetime.now(UTC)
    latest, steps = observed.latest(warehouse, run)
    every = loads.observe(settings, warehouse, now)
    backups = archive.judged(settings, backups_seen.in_ledger(warehouse), now)
    drills = archive.judged_drills(settings, backups_seen.drills_in_ledger(warehouse), now)
    archives, unseen = ([], []) if run else repositories.observe(settings, now)
    theirs = ages.judged(settings, list(programs.observe(settings, run)), now)
    last = observed.snapshots(warehouse, settings.sources)
    seen = Overview(
        run=latest,
        programs=theirs,
        steps=steps,
        open=every.open,
        undone=every.undone,
        tables=every.tables,
        fresh=observed.fresh(warehouse),
        backups=backups,
        drills=drills,
        archives=archives,
        others=[
            *backups_seen.going(settings, run, backups, drills),
            *(one.step for one in theirs if one.step),
            *plain.observe(warehouse, run),
        ],
        remarks=[*every.remarks, *unseen],
        waiting=observed.waiting_steps(
            warehouse, {one.name for one in every.tables} | {one.key.name for one in steps}
        ),
        limit=limits.run(settings),
        proofs=observed.proved(warehouse),
        held_back=observed.held_back(last),
        behind=observed.behind(last),
    )
    return _of_one(seen, latest) if run else seen


def _of_one(seen: Overview, run: Run | None) -> Overview:
    """Return what there is of one run alone: how everything else is does not count."""
    failed = [step for step in seen.steps if step.state == State.FAILED]
    undone = []
    if run is not None and run.actual_state == State.FAILED:
        began = {step.key.name for step in seen.steps}
        wanted = [one.name for one in seen.tables if run.is_to_load(one.name)]
        missing = [name for name in wanted if name not in began]
        done = {step.key.name for step in seen.steps if step.done and step.key.task in CONCLUDING}
        if wanted and not failed and done.issuperset(wanted):
            # Somebody else did what was left, as a worker for whom a step was re-enabled in the visualizer.
            seen = dataclasses.replace(seen, run=dataclasses.replace(run, state=State.DONE, error=None))
        elif missing or not failed:
            undone = [Undone(run, missing)]
    waits = [one for one in seen.waiting if run is not None and one.key.run == run.run]
    return dataclasses.replace(seen, of_one_run=True, open=failed, undone=undone, tables=(), waiting=waits)


def summarize_without_ledger(settings: Settings, run: str | None) -> Overview:
    """Return what the bucket and the work folder alone can tell; what is out of reach is a remark."""
    backups: list[Backup] = []
    remarks = []
    if settings.backup is not None:
        try:
            backups = backups_seen.in_bucket(settings)
        except PipelineError as error:
            remarks.append(f"the backups could not be listed: {error}")
    now = datetime.now(UTC)
    if not remarks:
        backups = archive.judged(settings, backups, now)
    archives, unseen = ([], []) if run else repositories.observe(settings, now)
    return Overview(
        backups=backups,
        archives=archives,
        others=backups_seen.going(settings, run, backups),
        remarks=[*remarks, *unseen],
    )
