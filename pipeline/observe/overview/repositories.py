"""The repositories of pgBackRest, each with what is wrong with it."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from pipeline.errors import PipelineError, StoppedError
from pipeline.observe.observed import repositories as observed
from pipeline.observe.observed.repositories import Repository
from pipeline.observe.watch import repositories as judged
from pipeline.settings import Settings


@dataclass(frozen=True)
class Archive:
    """What pgBackRest has of a database's server; `description` says it, `is_stale`: older than its limit."""

    database: str
    repository: Repository
    description: str
    problems: tuple[str, ...]
    is_stale: bool


def observe(settings: Settings, now: datetime) -> tuple[list[Archive], list[str]]:
    """Return what there is for each database that has one, and remarks on what could not be asked."""
    remarks: list[str] = []

    @contextlib.contextmanager
    def observing(_subject: str) -> Iterator[None]:
        try:
            yield
        except StoppedError:
            raise
        except PipelineError as error:
            remarks.append(str(error))

    repositories = observed.observe(settings, observing)
    return [
        Archive(
            name,
            one,
            judged.describe(one, now),
            tuple(judged.problems(settings, one, now)),
            judged.is_stale(settings, one, now),
        )
        for name, one in repositories.items()
    ], remarks
