"""The one engine: has a command stand in a step, strikes, and looks at all that comes of it."""

import contextlib
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from tests.faults.faults import Fault
from tests.faults.scene import Scene, standing
from tests.support.hooks import Hook
from tests.support.night import Ended, wait_until

# So often a person types the same command again, until it ends well.
TRIES = 2
SETTLE_SECONDS = 20.0
LOOK_SECONDS = 0.1


class World(Protocol):
    """What a row of the matrix runs on."""

    hook: Hook
    good: tuple[int, ...]
    # The exit codes of the same command where all it was to do is done; other than the good ones, it refuses.
    done: tuple[int, ...]
    tells: bool
    # Small disks that can be filled, by whose they are.
    disks: dict[str, Path]

    @property
    def environment(self) -> dict[str, str]:
        """What the command has."""

    @property
    def folder(self) -> Path:
        """Where files may lie."""

    def begin(self) -> Sequence[str]:
        """Change what the command is to see, and return it: `pipeline` with these arguments."""

    def again(self, arguments: Sequence[str]) -> Ended:
        """Run it to its end."""

    def differences(self) -> list[str]:
        """Return how what came of it is not as it should be, in words."""

    def under_way(self) -> list[str]:
        """Return what the ledger says is under way."""

    def remains(self) -> list[str]:
        """Return what is there and should not be when nothing runs."""


def strike(world: World, place: str, fault: Fault) -> None:
    """Do one fault at one place. Raise AssertionError if anything is not as it should be after it."""
    arguments = world.begin()
    told_before = len(world.hook.received())
    with contextlib.ExitStack() as stack:
        around = stack.enter_context(contextlib.ExitStack())
        environment = {**world.environment, **around.enter_context(fault.around(world))}
        scene = stack.enter_context(standing(arguments, environment, place, world.folder))
        _play(world, scene, fault)
        # The same command again is to have none of it.
        around.close()
        told = world.hook.received()[told_before:]
        codes = {*fault.codes} - {0} | ({*world.good} if 0 in fault.codes else set())
        assert scene.code in codes, f"it ended with {scene.code}, not one of {codes}\n{scene.out}"
        _require_no_bug(scene.out)
        # A command that ends by itself has said of each step how that ended.
        assert scene.code < 0 or not (said := world.under_way()), f"it ended with {scene.code}, but: {said}"
        if not world.tells:
            pass
        elif scene.code == 0:
            assert not [key for kind, key in told if kind == "failed"], (
                f"people were told for nothing: {told}"
            )
        elif fault.has_witness:
            wait_until(lambda: world.hook.received()[told_before:], "somebody is told", SETTLE_SECONDS)
        ended = [_again(world, arguments)]
        good = world.done if scene.code in world.good else world.good
        while ended[-1].code not in good and len(ended) < TRIES:
            ended.append(_again(world, arguments))
    assert ended[-1].code in good, f"the same command does not end well: {ended}"
    if fault.next_night:
        ended.append(_again(world, world.begin()))
        assert ended[-1].code == 0, f"the next night does not end well: {ended[-1]}"
    assert not (found := world.differences()), "\n".join(found)
    # What was killed is noticed by servers and by others a moment later.
    deadline = time.monotonic() + SETTLE_SECONDS
    while (left := world.remains()) and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
    assert not left, "left behind: " + "; ".join(left)


def _play(world: World, scene: Scene, fault: Fault) -> None:
    acts = fault.strike(world, scene)
    try:
        next(acts)
        scene.go_on()
        next(acts)
        scene.end()
        with contextlib.suppress(StopIteration):
            next(acts)
    finally:
        acts.close()


def _again(world: World, arguments: Sequence[str]) -> Ended:
    ended = world.again(arguments)
    _require_no_bug(ended.out + ended.err)
    return ended


def _require_no_bug(out: str) -> None:
    """Raise AssertionError at a traceback of our own code. Luigi has some for a step whose Luigi is gone."""
    ours = [frame for frame in re.findall(r'File "([^"]+)", line', out) if "/luigi/" not in frame]
    assert not ours, out
