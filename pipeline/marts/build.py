"""Build: makes a mart, once all that it reads is loaded or built, and puts it where people read it.

A mart that cannot be built, or of which a check does not hold, stays as it was.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from psycopg2 import sql

from pipeline import access, alerts, ledger, postgres, quality, retry
from pipeline.access import Access
from pipeline.alerts import failures
from pipeline.catalog import Catalog, Mart, Materialize
from pipeline.chains import BUILD_TASK, LOAD_TASK
from pipeline.errors import CheckError, StepError
from pipeline.ledger import checks, lease
from pipeline.ledger.lease import Attempt
from pipeline.ledger.runs import Published
from pipeline.marts import publish, question
from pipeline.marts.question import Answer
from pipeline.postgres import Connection
from pipeline.progress import Show, no_progress
from pipeline.quality import CANDIDATE, Result, Subject
from pipeline.settings import Settings
from pipeline.step import StepKey
from pipeline.warehouse import relation, roles

logger = logging.getLogger(__name__)

SCHEMA = roles.MART


@dataclass(frozen=True, kw_only=True)
class Built(Published):
    """The record of one building of a mart: a view or a table (`mode`), and what was declared of it."""

    digest: str
    # The columns that it reads of each relation, as the server says, for who draws where data come from.
    reads: Mapping[str, Sequence[str]] = field(default_factory=dict)
    # The moment of the source of the oldest table that is in it; None if it reads none.
    fresh_as_of: datetime | None = None

    @classmethod
    def _typed(cls, values: dict[str, Any]) -> dict[str, Any]:
        moment = values.get("fresh_as_of")
        return {**values, "fresh_as_of": datetime.fromisoformat(moment) if moment else None}

    def __str__(self) -> str:
        return f"{self.total:,} rows, a {self.mode}"


def key_of(name: str, run: str) -> StepKey:
    """Return the step of a mart in the ledger."""
    return StepKey(run, BUILD_TASK, f"{SCHEMA}.{name}")


def is_built(settings: Settings, mart: Mart, run: str) -> bool:
    """Whether the run has built the mart as it is declared now, from what the run has loaded."""
    return are_built(settings, [mart], run)


def are_built(settings: Settings, marts: Sequence[Mart], run: str) -> bool:
    """Whether the run has built all of these marts."""
    with access.brief(settings).asking() as warehouse:
        return all(_built(warehouse, mart, run) for mart in marts)


def _built(warehouse: Connection, mart: Mart, run: str) -> bool:
    step = ledger.find_step(warehouse, key_of(mart.name, run))
    built = Built.of(step)
    if step is None or built is None or built.digest != mart.digest:
        return False
    # Another run may have built another SELECT since, which is what people see.
    last = ledger.last_record(warehouse, BUILD_TASK, f"{SCHEMA}.{mart.name}", Built)
    if last is None or last.digest != mart.digest:
        return False
    if relation.oid(warehouse, sql.Identifier(SCHEMA, mart.name)) is None:
        return False
    for name in mart.reads:
        task = BUILD_TASK if name.startswith(f"{SCHEMA}.") else LOAD_TASK
        read = ledger.find_step(warehouse, StepKey(run, task, name))
        # What was loaded after the mart was built is not in it.
        if read is None or not read.done or read.finished_at is None or read.finished_at > step.started_at:
            return False
    return True


def build_mart(
    settings: Settings, catalog: Catalog, name: str, run: str, show: Show = no_progress
) -> Built | None:
    """Build a mart and publish it; return what it is now, or None if it was built before.

    What passes is tried again. Raise CheckError, telling all that does not hold, and StepError, with file and
    line, if the SELECT is not a pure read or the server cannot run it: the mart then stays as it was.
    """
    return retry.call(
        lambda: _build_mart(settings, catalog, name, run, show), lambda message: show(None, message)
    )


def _build_mart(settings: Settings, catalog: Catalog, name: str, run: str, show: Show) -> Built | None:
    mart, key = catalog.mart(name), key_of(name, run)
    with (
        access.for_step(settings) as databases,
        databases.asking() as beside,
        databases.warehouse() as warehouse,
        postgres.explained(key.name),
    ):
        lease.lock_table(warehouse, SCHEMA, name, step=key)
        if _built(warehouse, mart, run):
            return None
        with lease.attempted(beside, key, warehouse) as attempt:
            _require_roles(warehouse)
            _require_tables(catalog, mart)
            built = _Building(databases, warehouse, catalog, mart, run).build(attempt, show)
            attempt.finish(warehouse, built.total, built)
            warehouse.commit()
    show(100, str(built))
    return built


def _require_roles(warehouse: Connection) -> None:
    if not roles.there(warehouse):
        raise StepError(
            "the warehouse has no role for analysts",
            hint="run 'pipeline migrate'",
            retryable=False,
        )


def _require_tables(catalog: Catalog, mart: Mart) -> None:
    """Raise StepError if the mart reads a table that is not loaded: of some, only the source knows."""
    missing = [
        name
        for name in mart.reads
        if (source := catalog.sources.get(name.partition(".")[0])) is not None
        and name.partition(".")[2] not in source.tables
    ]
    if missing:
        raise StepError(
            f"{mart.file}:1: reads {', '.join(missing)}, which the source does not have",
            hint=f"read another table; 'pipeline plan {missing[0].partition('.')[0]}' lists them",
            retryable=False,
        )


class _Building:
    """One mart being built."""

    def __init__(
        self, databases: Access, warehouse: Connection, catalog: Catalog, mart: Mart, run: str
    ) -> None:
        self._databases, self._warehouse, self._catalog = databases, warehouse, catalog
        self._mart, self._run = mart, run

    def build(self, attempt: Attempt, show: Show) -> Built:
        """Ask, look, publish."""
        mart, settings = self._mart, self._databases.settings
        with self._databases.analyst() as theirs:
            attempt.watch(theirs)
            show(None, "running its SELECT")
            # Before it reads them: what is loaded meanwhile may be in it or not.
            as_of = self._as_of()
            answer = question.ask(theirs, mart)
            results = self._results(theirs, answer)
            checks.record_checks(self._warehouse, self._run, SCHEMA, mart.name, results)
            stopping = [str(result) for result in results if result.stops]
            if stopping:
                # What was found is kept, whether the mart is held back or not.
                self._warehouse.commit()
            _warn(settings, mart, self._run, results)
            if stopping:
                raise CheckError(f"{'; '.join(stopping)}; it stays as it was")
            show(None, "publishing")
            new = publish.New(mart, self._run, answer)
            if mart.materialize == Materialize.TABLE:
                publish.as_table(self._warehouse, theirs, new)
            else:
                publish.as_view(self._warehouse, new, self._is_about_to_change)
            theirs.rollback()
        return Built(
            digest=mart.digest,
            mode=mart.materialize,
            total=answer.rows,
            reads=answer.reads,
            fresh_as_of=as_of,
        )

    def _as_of(self) -> datetime | None:
        """Return the moment of the oldest of what it reads; a mart that is read is as old as its own."""
        moments = []
        for name in self._mart.reads:
            schema, _, table = name.partition(".")
            if schema == SCHEMA:
                last = ledger.last_record(self._warehouse, BUILD_TASK, name, Built)
                moments.append(last.fresh_as_of if last else None)
            else:
                mark = ledger.watermark(self._warehouse, schema, table)
                moments.append(mark.snapshot_at if mark else None)
        return min((moment for moment in moments if moment is not None), default=None)

    def _results(self, theirs: Connection, answer: Answer) -> list[Result]:
        mart = self._mart

        def other(name: str) -> sql.Identifier:
            own = name == f"{SCHEMA}.{mart.name}"
            return sql.Identifier(CANDIDATE) if own else sql.Identifier(*name.split("."))

        history = ledger.row_counts(self._warehouse, key_of(mart.name, self._run))
        subject = Subject(
            [column.name for column in answer.columns],
            mart.rules,
            mart.checks,
            answer.rows,
            history,
            f"in {mart.file}",
            (),
            other,
        )
        missing = sorted(mart.rules.keys() - set(subject.columns))
        if missing:
            raise StepError(
                f"{mart.file}:1: declares {', '.join(missing)}, which its SELECT does not return",
                retryable=False,
            )
        return list(quality.check(theirs, subject))

    def _is_about_to_change(self, name: str) -> bool:
        """Whether a mart that hangs on this one is declared otherwise than it is, and is built next."""
        mart = self._catalog.marts.get(name)
        if mart is None:
            return False
        built = ledger.last_record(self._warehouse, BUILD_TASK, f"{SCHEMA}.{name}", Built)
        return built is None or built.digest != mart.digest


def _warn(settings: Settings, mart: Mart, run: str, results: Sequence[Result]) -> None:
    """Tell of what did not hold and stops nothing; once for each check, until it holds."""
    of = failures.mart(mart.name, run)
    warnings = [
        replace(of, key=f"{of.key}/{result.name}").alert(
            f"{result.name} does not hold", str(result), kind=alerts.Kind.WARNING
        )
        for result in results
        if not result.passed and not result.stops
    ]
    for alert in warnings:
        logger.warning("%s", alert.summary)
    alerts.reconcile(settings, f"{of.key}/", warnings)
