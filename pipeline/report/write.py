"""Write: the page of a repository's dashboards, into a folder that it can be served or mailed from."""

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pipeline import access, postgres
from pipeline.catalog import Dashboard
from pipeline.errors import StepError, UsageError
from pipeline.report import choices, moments, rows
from pipeline.report.drawn import Pencil
from pipeline.report.page import Shown, page
from pipeline.settings import Settings
from pipeline.system import atomic

FILE = "index.html"


def write(settings: Settings, dashboards: Mapping[str, Dashboard], folder: Path) -> tuple[Path, list[str]]:
    """Write the page of all dashboards into `folder`, whole or not at all.

    Return the file, and what of it could not be shown. Raise UsageError if there is nothing to show or to
    draw with, StepError if the file cannot be written, UnreachableError if something is out of reach.
    """
    if not dashboards:
        raise UsageError("no dashboards", hint="write dashboards/NAME.yaml in the analysts' repository")
    pencil, now = Pencil(), datetime.now(UTC)
    shown = _read(settings, list(dashboards.values()), now)
    text = page(shown, pencil, now.date(), now)
    return _put(folder, text), [problem for each in shown for problem in _problems(each)]


def _problems(shown: Shown) -> Iterator[str]:
    """Yield which cards cannot be shown, as the page says of them: at first, and by what is chosen."""
    seen = set()
    for card, answer in zip(shown.dashboard.cards, shown.answers, strict=True):
        if answer.error:
            seen.add((card.title, answer.error))
            yield f"{shown.dashboard.file}: {card.title}: {answer.error}"
    for choice in shown.choices:
        for card, answer in choice.cards:
            # What is wrong in every way is told once.
            if answer.error and (card.title, answer.error) not in seen:
                picked = f"{choice.filter.name} {choices.label(choice.value)}"
                yield f"{shown.dashboard.file}: {card.title}, with {picked}: {answer.error}"


def _read(settings: Settings, dashboards: Sequence[Dashboard], now: datetime) -> list[Shown]:
    with (
        access.opened(settings) as databases,
        databases.dashboards() as connection,
        postgres.explained("the report"),
    ):
        postgres.rows(connection, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        first = [tuple(rows.read(connection, each, now.date(), {})) for each in dashboards]
        known = moments.read(connection)
        ends_at = time.monotonic() + choices.SECONDS
        return [
            Shown(
                each,
                answers,
                {},
                choices.read(connection, each, now.date(), ends_at),
                moments.of(each, known),
            )
            for each, answers in zip(dashboards, first, strict=True)
        ]


def _put(folder: Path, text: str) -> Path:
    path = folder / FILE
    try:
        atomic.page(path, text)
    except OSError as error:
        fact = f"{path}: cannot be written: {error.strerror}"
        raise StepError(fact, hint="let this user write there, or name another folder") from None
    return path
