"""Whoever needs B2 on a machine whose clock is an hour off: it says so, and nothing is harmed."""

import re
import subprocess

import pytest

from tests.faults import clocks
from tests.faults.conftest import Worlds
from tests.faults.engine import SETTLE_SECONDS
from tests.support.night import program, wait_until

SECONDS = 150


@pytest.mark.faults
@pytest.mark.parametrize("seconds", [clocks.AHEAD, clocks.BEHIND])
@pytest.mark.parametrize("kind", ["archives", "drills", "restored"])
def test_whom_b2_refuses_for_his_clock_is_told_to_set_it(kind: str, seconds: int, worlds: Worlds) -> None:
    world = worlds.get(kind)
    arguments = world.begin()
    told_before = len(world.hook.received())
    done = subprocess.run(
        [program("pipeline"), *arguments],
        env={**world.environment, **clocks.environment(seconds, world.folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode in (3, 5), said
    assert re.search(
        r"this machine's clock is 3[56]\d\d seconds off, which B2 refuses; set the clock", said
    ), said
    assert "Traceback" not in said
    if world.tells:
        wait_until(lambda: world.hook.received()[told_before:], "somebody is told", SETTLE_SECONDS)
    assert world.again(arguments).code in world.good
    assert world.differences() == []
    wait_until(lambda: not world.remains(), "nothing is left behind", SETTLE_SECONDS)
