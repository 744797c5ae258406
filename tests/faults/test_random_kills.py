"""Nights in a row, processes killed at random while the sources change: nothing is lost, nothing twice."""

import contextlib
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.years import Year
from tests.support.archive import archive_in
from tests.support.hooks import hook_of
from tests.support.night import Night
from tests.support.platforms import Sandbox, platform_in
from tests.support.restores import restores_in


@pytest.mark.faults
@pytest.mark.timeout(0)
def test_nights_with_kills_at_random_lose_nothing_and_have_nothing_twice(
    pytestconfig: pytest.Config,
    sandbox: Sandbox,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    given = pytestconfig.getoption("--seed")
    seed = random.randrange(10**6) if given is None else given  # noqa: S311 - for no secret
    nights: int = pytestconfig.getoption("--nights")
    with contextlib.ExitStack() as stack:
        platform = stack.enter_context(platform_in(sandbox, tmp_path))
        hook = stack.enter_context(hook_of(platform))
        restores = stack.enter_context(restores_in(stack.enter_context(archive_in(platform))))
        night = Night(platform)
        stack.callback(night.close)
        night.migrate()
        year = Year(night, restores, hook, seed)
        stack.callback(year.close)
        began, number = time.monotonic(), 0
        try:
            for number in range(1, nights + 1):
                year.go(number)
            year.conclude()
        except BaseException as error:
            replay = f"replay with: bin/test --faults -k random --seed {seed} --nights {max(number, 1)}"
            record_property("nights", (seed, number, str(error)[:2000], replay))
            raise
        finally:
            year.counts.seconds = time.monotonic() - began
            record_property("counts", (seed, vars(year.counts)))
