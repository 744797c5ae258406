"""Lines that are slow: a relay between a command and a server of its hands on little at once, after a wait.

It is there from the beginning, and slow from the moment the step stands until the command has ended, for all
connections that there are and come. Slow is no failure: all is to end well by itself. Only where it is slower
than a limit that somebody has set, the step is ended, and the same command again does what is left.
"""

import contextlib
import re
from collections.abc import Generator, Iterator, Mapping
from typing import Any

from pipeline import access
from pipeline.errors import StepError
from pipeline.sandbox import provision
from tests.faults import servers
from tests.faults.faults import Fault
from tests.faults.scene import Scene
from tests.support.proxies import Line

# How many bytes are handed on at once, and what they wait before. Who is asked less often answers later, as
# Vault does: in half a second, and no limit of ours may be shorter than that. What B2 lists is, in a run of
# all cells, each backup of each cell before.
SLOW, SLOWER = (256, 0.002, 0), {servers.VAULT: (64, 0.02, 0), servers.B2: (1024, 0.02, 0)}
# So many pieces are late at least, or the step has not come by the line at all.
LEAST_PIECES = 4
# Once it has logged in, which has a limit of its own, a byte after the other: nothing that a step asks for
# comes in its time.
CRAWL_BYTES, CRAWL_SECONDS, LOGIN_BYTES = 1, 0.5, 4096
LIMIT = "\n[run]\nstep_minutes = 0.15\n"


class _Between:
    """A relay before one server."""

    def __init__(self, name: str, pace: tuple[int, float, int], settings: str = "") -> None:
        """`pace` is as in `Line.be_slow`; `settings` is added to luigi.cfg."""
        self._name, self._pace, self._settings = name, pace, settings
        self._line: Line | None = None

    @contextlib.contextmanager
    def around(self, world: Any) -> Iterator[Mapping[str, str]]:
        """Let the command go by the relay."""
        port = servers.port_of(world, self._name)
        self._line = line = Line(port)
        line.open()
        try:
            with _led(world, self._name, port, line.port, self._settings):
                yield {}
        finally:
            line.close()

    def strike(self, _world: Any, _scene: Scene) -> Generator[None, None, None]:
        """Be slow."""
        assert self._line is not None
        self._line.be_slow(*self._pace)
        yield
        yield
        late = self._line.slowed
        assert late >= LEAST_PIECES, f"{late} pieces were late, so nothing of this went by the line"


def _entries(world: Any, name: str) -> list[str]:
    """Return the entries of Vault that say where a server is."""
    if name == servers.DRILL:
        return [provision.DRILL, provision.DRILL_SUPERUSER]
    if name == servers.WAREHOUSE:
        # Of each login there.
        return [world.entry("warehouse") + below for below in ("", "/analyst", "/dashboards")]
    return [world.entry("source")] if name == servers.SOURCE else []


@contextlib.contextmanager
def _led(world: Any, name: str, port: int, to: int, settings: str) -> Iterator[None]:
    """Have who looks for a server find another port: databases are found by Vault, the rest by luigi.cfg."""
    vault, file = world.platform.sandbox.vault, world.platform.settings_file
    kept = {entry: vault.read(entry) for entry in _entries(world, name)}
    text = file.read_text()
    for entry, values in kept.items():
        vault.write(entry, {**values, "uri": _changed(values["uri"], port, to)})
    file.write_text((text if kept else _changed(text, port, to)) + settings)
    # Whoever was asked a moment ago is still connected by the other way, also in this process.
    access.end_brief()
    try:
        yield
    finally:
        file.write_text(text)
        for entry, values in kept.items():
            vault.write(entry, values)
        access.end_brief()


def _changed(text: str, port: int, to: int) -> str:
    changed, times = re.subn(rf"\b{port}\b", str(to), text)
    assert times, f"nothing leads to port {port}"
    return changed


def slow(name: str, shown: str) -> Fault:
    """Return the fault of a slow line to one server."""
    between = _Between(name, SLOWER.get(name, SLOW))
    return Fault(f"{shown} slow", between.strike, place="begun", around=between.around, fails=False)


def slower_than_limit(name: str) -> Fault:
    """Return the fault of a line to one server on which a step takes longer than [run] step_minutes."""
    between = _Between(name, (CRAWL_BYTES, CRAWL_SECONDS, LOGIN_BYTES), LIMIT)
    codes = (StepError.exit_code,)
    return Fault("slower than its limit", between.strike, codes, place="begun", around=between.around)
