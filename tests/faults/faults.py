"""The faults: each does its harm while a step stands, and mends what no program could mend by itself.

A fault is a generator. Up to its first `yield` the step stands; up to the second it is under way again; then
the command has ended, and what is left of the generator makes the world whole.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

import psutil

from pipeline.system import process_tree
from tests.faults.scene import Scene

# How long somebody is stopped. It has to hold whatever the others do meanwhile.
PAUSE_SECONDS = 1.0
LOOK_SECONDS = 0.02

Strike = Callable[[Any, Scene], Generator[None, None, None]]
# What is there before the command begins, and gone once it has ended: yields what its environment has more.
Around = Callable[[Any], contextlib.AbstractContextManager[Mapping[str, str]]]


def nothing(_world: Any) -> contextlib.AbstractContextManager[Mapping[str, str]]:
    """Have nothing around the command."""
    return contextlib.nullcontext({})


@dataclass(frozen=True)
class Fault:
    """One fault: its name in the table, and what does it."""

    name: str
    strike: Strike
    # The exit codes with which the command may end, if it is our own process that was not killed.
    codes: tuple[int, ...] = (0,)
    # Whether a living process is left that can tell people of what failed.
    has_witness: bool = True
    # Whether it harms a server that others use as well: it is done in a sandbox of its own.
    harms: bool = False
    # Whether the source was changed after its moment was taken: it takes another night to compare with it.
    next_night: bool = False
    # Where it comes, if it is not one that is tried everywhere.
    place: str = "middle"
    # Whether it takes a file system of its own, which only root may mount.
    needs_mounts: bool = False
    # What the command begins in.
    around: Around = nothing
    # Whether anything may fail by it: what is slow is only waited for.
    fails: bool = True


def killed(number: signal.Signals, who: str) -> Strike:
    """Send one process a signal that ends it."""

    def strike(_world: Any, scene: Scene) -> Generator[None, None, None]:
        victim: psutil.Process = getattr(scene, who)
        victim.send_signal(number)
        # As whoever sent it sees it: by what the others do next.
        deadline = time.monotonic() + PAUSE_SECONDS
        while process_tree.lives(victim) and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
        yield
        yield

    return strike


def killed_as_a_whole(_world: Any, scene: Scene) -> Generator[None, None, None]:
    """Kill every process of the command at once, as it happens when a machine goes."""
    everyone = scene.everyone
    # Stopped first: nobody sees another one's end and does something about it.
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for one in everyone:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.send_signal(number)
    yield
    yield


def interrupted(_world: Any, scene: Scene) -> Generator[None, None, None]:
    """Type Ctrl-C: the whole group of the terminal is told."""
    os.killpg(scene.process.pid, signal.SIGINT)
    yield
    yield


def stopped(who: str) -> Strike:
    """Stop one process for a while, in the middle of what the others do."""

    def strike(_world: Any, scene: Scene) -> Generator[None, None, None]:
        victim: psutil.Process = getattr(scene, who)
        victim.suspend()
        try:
            yield
            time.sleep(PAUSE_SECONDS)
        finally:
            victim.resume()
        yield

    return strike


ENDED = (0, 3)
TOLD_TO_STOP = (143,)
KILLED = (-signal.SIGKILL,)

PROCESSES = (
    Fault("step killed", killed(signal.SIGKILL, "step"), ENDED),
    Fault("step terminated", killed(signal.SIGTERM, "step"), ENDED),
    Fault("step stopped", stopped("step")),
    # 0: the step was the last one, and done all the same.
    Fault("Luigi killed", killed(signal.SIGKILL, "luigi"), ENDED),
    Fault("Luigi terminated", killed(signal.SIGTERM, "luigi"), (*ENDED, *TOLD_TO_STOP)),
    Fault("Luigi stopped", stopped("luigi")),
    Fault("command killed", killed(signal.SIGKILL, "parent"), KILLED),
    Fault("command terminated", killed(signal.SIGTERM, "parent"), TOLD_TO_STOP),
    # Who typed it knows.
    Fault("command interrupted", interrupted, TOLD_TO_STOP, has_witness=False),
    Fault("command stopped", stopped("parent")),
    Fault("all killed", killed_as_a_whole, KILLED, has_witness=False),
)
COMMANDS = tuple(fault for fault in PROCESSES if fault.name.startswith(("command ", "all ")))
