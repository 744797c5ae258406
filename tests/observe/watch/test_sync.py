"""What watch thinks of syncs of the analysts' repository."""

from datetime import datetime, timedelta

import pytest

from pipeline.settings import Settings
from tests.observe.watch.samples import HOUR, NOW, judged, observations, only, settings, told

REPOSITORY = {"checkout": "/srv/analysts", "repository": "https://git.example.org/analysts.git"}


def synced(**watch: int) -> Settings:
    """Return settings with an analysts' repository that is synced."""
    return settings(analysts=REPOSITORY, watch=watch)


def test_that_no_sync_ends_any_more_is_told() -> None:
    """Each that fails tells so itself; whose job is gone, or who hangs, does not."""
    late = only(observations(synced_at=NOW - 3 * HOUR), configured=synced())
    assert (late.key, late.severity, late.command) == ("watch/sync", "stale", "pipeline sync")
    assert late.summary == "the analysts' repository: the last sync ended 3 h 00 min ago; the limit is 2 h"
    assert late.since == NOW - HOUR
    assert told(observations(synced_at=NOW - 3 * HOUR), configured=synced(sync_hours=4)) == {}


def test_that_none_ever_ended_here_is_told() -> None:
    late = only(observations(), configured=synced())
    assert late.summary == "the analysts' repository: no sync has ended on this machine; the limit is 2 h"


def test_a_sync_of_the_last_minutes_is_well() -> None:
    found = judged(observations(synced_at=NOW - timedelta(minutes=4)), configured=synced())
    assert found["watch/sync"].severity == "ok"


@pytest.mark.parametrize("last", [None, NOW - 90 * HOUR])
def test_what_is_not_fetched_by_us_is_not_judged(last: datetime | None) -> None:
    analysts = {"checkout": "/srv/analysts"}
    assert "watch/sync" not in judged(observations(synced_at=last), configured=settings(analysts=analysts))
    assert "watch/sync" not in judged(observations(synced_at=last))
