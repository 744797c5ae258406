"""Looks at everything, each thing by itself and for reading only: one that is out of reach hides no other."""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from pipeline import access, catalog, chains, crypt, ledger, postgres, sync
from pipeline.access import Access
from pipeline.alerts.message import one_line
from pipeline.backup.drills import report
from pipeline.backup.store import backups, retention, signature
from pipeline.backup.work import attempts, work_folder
from pipeline.bucket import Stored
from pipeline.catalog import Catalog
from pipeline.errors import PipelineError, ProblemsError, StoppedError
from pipeline.ledger import archive, runs
from pipeline.observe.observed import declared, loads, programs, repositories
from pipeline.observe.observed.observations import (
    BucketObservations,
    Declared,
    DrillObservations,
    Failing,
    KeyObservations,
    LedgerObservations,
    Observations,
    Program,
    TableObservations,
    Unseen,
    Work,
    newest,
)
from pipeline.postgres import Connection
from pipeline.retry import ASKED
from pipeline.settings import Settings
from pipeline.step import State, Step
from pipeline.system import file_lock

logger = logging.getLogger(__name__)

NAME = chains.ETL.name
# By the task of a drill: what it restores, its name as work, and the lock of the command that goes on.
ORIGINS = {chains.DRILL_TASK: report.Origin.BACKUP, chains.ARCHIVE_DRILL_TASK: report.Origin.PGBACKREST}
DRILLING = {
    chains.DRILL_TASK: (chains.DRILL.name, work_folder.RUN_LOCK),
    chains.ARCHIVE_DRILL_TASK: (chains.ARCHIVE_DRILL, work_folder.ARCHIVE_LOCK),
}
# Steps that began before are no news; and so many runs are asked how long they usually take.
HISTORY = timedelta(days=60)
USUAL_RUNS = 14
# Nobody waits for watch: what does not answer by then is out of reach.
WAREHOUSE_SESSION = {
    "default_transaction_read_only": "on",
    "statement_timeout": "30s",
    "lock_timeout": "10s",
}


T = TypeVar("T")


def observe(settings: Settings, now: datetime) -> Observations:
    """Return all that can be known at this moment."""
    return _Observer(settings, now).observe()


class _Observer:
    """One look, and what could be seen."""

    def __init__(self, settings: Settings, now: datetime) -> None:
        self._settings, self._now = settings, now
        self._seen: list[str] = []
        self._unseen: list[Unseen] = []

    def observe(self) -> Observations:
        observations = Observations(
            keys=tuple(self._keys()),
            work=self._observed("the work folder", self._work),
            repositories=repositories.observe(self._settings, self._observing),
            synced_at=sync.ended_at(analysts.checkout) if (analysts := self._settings.analysts) else None,
        )
        if self._settings.analysts:
            theirs = self._observed("the analysts' tasks", self._programs)
            observations = replace(observations, programs=theirs)
        seen = self._observed("the catalog", self._catalog) if self._settings.analysts else None
        if seen is not None:
            # What `*` brings the warehouse alone knows: without it, nothing is known to be gone.
            is_whole = not any(source.everything for source in seen[0].sources.values())
            observations = replace(
                observations, declared=seen[1].tables if is_whole else None, marts=seen[1].marts
            )
        with self._observing("Vault"), access.opened(self._settings) as databases:
            observations = self._behind_vault(databases, observations)
            if seen is not None and observations.declared is None and observations.ledger is not None:
                observations = self._everything(databases, seen[0], observations)
        return replace(observations, seen=tuple(self._seen), unseen=tuple(self._unseen))

    def _behind_vault(self, databases: Access, observations: Observations) -> Observations:
        if self._settings.warehouse is not None:
            observations = replace(
                observations, ledger=self._observed("the warehouse", lambda: self._ledger(databases))
            )
        backup = self._settings.backup
        if backup is not None:
            seen = self._observed(f"bucket {backup.bucket}", lambda: self._bucket(databases))
            if seen is not None and backup.audit_secret is not None:
                rules = self._observed("the bucket's rules", lambda: self._rules(databases))
                seen = replace(seen, rule_problems=rules)
            observations = replace(observations, bucket=seen)
        return observations

    def _everything(self, databases: Access, catalogued: Catalog, observations: Observations) -> Observations:
        """Return the same with the tables of sources that declare all of them, if the warehouse answers."""
        checkout = self._settings.require_analysts().checkout
        with contextlib.suppress(PipelineError), databases.warehouse(session=WAREHOUSE_SESSION) as warehouse:
            observations = replace(observations, declared=declared.of(checkout, catalogued, warehouse).tables)
        return observations

    def _observed(self, what: str, ask: Callable[[], T]) -> T | None:
        with self._observing(what):
            return ask()
        return None  # type: ignore[unreachable] # what was raised was noted

    @contextlib.contextmanager
    def _observing(self, what: str) -> Iterator[None]:
        """Note whether this thing could be looked at."""
        try:
            yield
        except StoppedError:
            raise
        except PipelineError as error:
            self._unseen.append(Unseen(what, one_line(str(error))))
        except Exception as error:
            # Nobody looks after us: a bug of one kind must not hide all else.
            logger.exception("%s: could not be observed", what)
            self._unseen.append(Unseen(what, one_line(f"{type(error).__name__}: {error}")))
        else:
            self._seen.append(what)

    # What lies on this machine.

    def _catalog(self) -> tuple[Catalog, Declared]:
        checkout = self._settings.require_analysts().checkout
        catalogued = catalog.read(checkout)
        return catalogued, declared.of(checkout, catalogued)

    def _programs(self) -> tuple[Program, ...] | None:
        if not self._settings.require_analysts().checkout.is_dir():
            return None  # nothing is known to be gone
        return tuple(programs.observe(self._settings, None))

    def _keys(self) -> Iterator[KeyObservations]:
        if self._settings.backup is None:
            return
        for path in self._settings.backup.recipients:
            # Each alone, so that one that is unusable does not hide another that soon will be.
            key = self._observed(f"key {path.name}", lambda path=path: self._key(path))  # type: ignore[misc]
            if key is not None:
                yield key

    def _key(self, path: Path) -> KeyObservations:
        with TemporaryDirectory() as folder:
            try:
                with crypt.keyring([path], now=self._now, folder=Path(folder)) as ring:
                    return KeyObservations(path.name, ring.recipients[0], None)
            except ProblemsError as error:
                return KeyObservations(path.name, None, error.problems[0].removeprefix(f"recipient {path}: "))

    def _work(self) -> tuple[Work, ...] | None:
        backup = self._settings.backup
        if backup is None or not os.access(backup.work_dir, os.R_OK | os.X_OK):
            return None  # another machine makes the backups
        work = [
            _at_work(
                f"{chains.BACKUP.name} {name}", backup.work_dir / name, attempts.backups(backup, name)[-1:]
            )
            for name in self._settings.databases
        ]
        drills, steps = backup.work_dir / work_folder.DRILLS, attempts.drills(backup)
        for task, (name, lock) in DRILLING.items():
            work.append(_at_work(name, drills, [step for step in steps if step.key.task == task], lock))
        return tuple(one for one in work if one)

    # What is in the warehouse.

    def _ledger(self, databases: Access) -> LedgerObservations:
        with (
            databases.warehouse(session=WAREHOUSE_SESSION) as warehouse,
            postgres.explained("the warehouse"),
        ):
            ledger.require_migrated(warehouse)
            last = loads.snapshots(warehouse, self._settings.sources)
            return LedgerObservations(
                run=runs.find(warehouse, NAME),
                going=runs.going(warehouse, NAME),
                tables=tables(warehouse, self._now - HISTORY),
                drills={task: dict(archive.last_drills(warehouse, task, _drill)) for task in ORIGINS},
                first_backups=archive.first_backups(warehouse),
                proofs=loads.proved(warehouse),
                seconds=runs.seconds_of_runs(warehouse, USUAL_RUNS),
                held_back=loads.held_back(last),
                behind=loads.behind(last),
            )

    # What is in the bucket.

    def _bucket(self, databases: Access) -> BucketObservations:
        backup = self._settings.require_backup()
        known = signature.signers(self._settings)
        with backups.reading(databases, retries=ASKED) as bucket:
            versions = list(bucket.versions())
        objects = backups.standing(versions)
        listing = backups.listed(objects, known)
        # The rules hide what is so old, and their clock is not ours.
        early = timedelta(days=backup.keep_days - 1)
        return BucketObservations(
            name=backup.bucket,
            backups=listing.backups,
            incomplete=listing.incomplete,
            hidden=(
                *backups.hidden(versions, early),
                *retention.hidden_copies(versions, listing, known, backup),
            ),
            drills={task: _drills(objects, origin) for task, origin in ORIGINS.items()},
        )

    def _rules(self, databases: Access) -> tuple[str, ...]:
        backup = self._settings.require_backup()
        secret = backup.audit_secret or backup.secret
        with databases.bucket(secret, retries=ASKED) as bucket:
            state = bucket.inspect()
        return tuple(state.problems(keep_days=backup.keep_days, lock_days=backup.lock_days or None))


def tables(warehouse: Connection, since: datetime) -> dict[str, TableObservations]:
    """Return how each table, mart and source as such fares; what began before `since` is not looked at."""
    return dict(ledger.fared(warehouse, since, _table))


def _table(
    *,
    name: str,
    fresh_as_of: datetime | None,
    loaded_at: datetime | None,
    first_tried_at: datetime | None,
    task: str | None,
    **failure: Any,
) -> tuple[str, TableObservations]:
    failing = Failing(task=task, **failure) if task else None
    return name, TableObservations(fresh_as_of, loaded_at, first_tried_at, failing)


def _drill(*, database: str, **columns: Any) -> tuple[str, DrillObservations]:
    known = {field.name for field in fields(DrillObservations)}
    return database, DrillObservations(**{name: columns[name] for name in known})


def _drills(objects: Sequence[Stored], origin: report.Origin) -> dict[str, DrillObservations]:
    """Return the newest drill of each database that has a report here, and when one last held."""
    by_database: dict[str, list[DrillObservations]] = {}
    for stored in objects:
        if report.is_report(stored, origin):
            database, grade = stored.name.partition("/")[0], stored.info["grade"]
            ended, held = datetime.fromisoformat(stored.info["finished-at"]), grade in report.HOLDING
            one = DrillObservations(stored.info["month"], grade, held, ended, ended if held else None)
            by_database.setdefault(database, []).append(one)
    return {database: newest(drills) for database, drills in by_database.items()}


def _at_work(name: str, home: Path, steps: Sequence[Step], lock: str = work_folder.RUN_LOCK) -> Work | None:
    """Return which of these attempts goes on or was killed, None if they ended, well or not."""
    going = [step for step in steps if step.state == State.RUNNING]
    killed = [step for step in steps if step.error == attempts.KILLED]
    for step in (*going, *killed):
        place = f"at {step.key.task}, process {step.pid}" if going else f"in {home}"
        alive = bool(going) or file_lock.is_held(home / lock)
        return Work(name, step.key.run, step.started_at, alive, place)
    return None
