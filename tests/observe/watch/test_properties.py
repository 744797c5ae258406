"""Whatever the facts: nothing that is late is lost, and what is told names thing, age, limit and command."""

import re
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from pipeline.observe.observed.observations import Failing, TableObservations
from tests.observe.watch.samples import (
    DAY,
    LONG_AGO,
    NOW,
    TABLES,
    backup,
    bucket,
    drill,
    key,
    ledger,
    observations,
    run,
    settings,
    told,
)

AGE = re.compile(r"\d+ (min|h|days)")
LIMIT = timedelta(hours=26)

ages = st.timedeltas(-3 * DAY, 100 * DAY)
failures = st.builds(
    Failing,
    task=st.sampled_from(["OpenSnapshot", "ExtractTable", "ValidateExtract", "LoadTable"]),
    run=st.just("2026-11-24"),
    error=st.text(max_size=20),
    exit_code=st.sampled_from([None, 1, 3, 4, 5]),
    since=ages.map(lambda age: NOW - age),
    runs=st.integers(1, 9),
)


@st.composite
def tables(draw: st.DrawFn) -> TableObservations:
    """Draw a table that was loaded at some time, or never, and fails or does not."""
    tried = draw(st.none() | ages)
    loaded = draw(st.none() | ages)
    return TableObservations(
        fresh_as_of=None if loaded is None else NOW - loaded,
        loaded_at=None if loaded is None else NOW - loaded + timedelta(minutes=draw(st.integers(0, 90))),
        first_tried_at=None if tried is None else NOW - tried,
        failing=draw(st.none() | failures),
    )


@given(
    loaded=st.fixed_dictionaries({f"hr.{name}": tables() for name in TABLES}),
    began=st.none() | ages,
    running=st.booleans(),
    alive=st.booleans(),
)
def test_no_table_that_is_late_is_lost(
    loaded: dict[str, TableObservations], began: timedelta | None, running: bool, alive: bool
) -> None:
    """It is told itself, or its source is, or the run that did not begin; and a table in time never is."""
    last = None
    if began is not None:
        last = run(started_at=NOW - began, state="running" if running else "failed", alive=running and alive)
    found = told(observations(ledger=ledger(run=last, tables=loaded), bucket=None))
    for name, table in loaded.items():
        counts_from = table.fresh_as_of or min(
            moment for moment in (table.first_tried_at, LONG_AGO) if moment
        )
        late = not -timedelta(hours=1) <= NOW - counts_from <= LIMIT
        keys = {f"watch/table/{name}", "watch/source/hr", "watch/run/etl"}
        assert not late or keys & found.keys(), (name, found)
        assert late or f"watch/table/{name}" not in found


@given(
    loaded=st.fixed_dictionaries({f"hr.{name}": tables() for name in TABLES}),
    began=ages,
    backed_up=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 10**9), st.booleans()), max_size=20),
    drilled=ages,
    held=st.booleans(),
    expires=ages,
)
def test_what_is_told_can_be_acted_upon(
    loaded: dict[str, TableObservations],
    began: timedelta,
    backed_up: list[tuple[int, int, bool]],
    drilled: timedelta,
    held: bool,
    expires: timedelta,
) -> None:
    there = [backup(days, size, verified=verified) for days, size, verified in backed_up]
    there.sort(key=lambda one: one.taken_at)
    ended = NOW - drilled
    proven = drill(held=held, grade="A" if held else "F", finished_at=ended, held_at=ended if held else None)
    found = observations(
        ledger=ledger(run=run(started_at=NOW - began), tables=loaded, drills={}),
        bucket=bucket(backups=tuple(there), drills={"hr": proven}),
        keys=(key(expires_at=NOW + expires),),
    )
    configured = settings()
    for finding in told(found, NOW, configured).values():
        thing = finding.key.rpartition("/")[2]
        assert thing in finding.summary
        assert finding.command.startswith("pipeline ")
        assert finding.command in finding.text
        assert len(finding.text.splitlines()) == 1
        if finding.severity == "stale":
            assert re.search(r"the limit is \d+ (h|days)", finding.summary)
            never = "none that is verified" in finding.summary or "was never loaded;" in finding.summary
            assert never or AGE.search(finding.summary)
        assert not finding.since or finding.since.tzinfo


@given(st.lists(st.integers(1, 10**12), min_size=8, max_size=20), st.integers(1, 1000))
def test_a_size_is_judged_alike_in_every_unit(sizes: list[int], times: int) -> None:
    """But for tiny ones, of which some kilobytes are nothing."""
    large = [size + 10**7 for size in sizes]

    def strange(numbers: list[int]) -> bool:
        there = [backup(len(numbers) - 1 - number, size) for number, size in enumerate(numbers)]
        return "watch/size/hr" in told(observations(bucket=bucket(backups=tuple(there))))

    assert strange(large) == strange([size * times for size in large])
