"""What the matrix runs on, which lives as long as it is whole, and the closing table."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.sandbox import lifecycle
from pipeline.sandbox.home import Home
from tests.faults import boards, commands, disks, matrix, table
from tests.faults.archives import Archives, Drills
from tests.faults.engine import World
from tests.faults.loads import Loads
from tests.faults.table import Outcome
from tests.support.archive import archive_in, may_mount, small_disk
from tests.support.hooks import Hook, hook_of
from tests.support.memory import in_memory
from tests.support.night import Night
from tests.support.platforms import Platform, Sandbox, platform_in
from tests.support.restores import Restores, restores_in

Maker = Callable[[Platform, Hook, contextlib.ExitStack], World]


def _of_loads(kind: Callable[[Night, Hook], World]) -> Maker:
    def make(platform: Platform, hook: Hook, stack: contextlib.ExitStack) -> World:
        night = Night(platform)
        stack.callback(night.close)
        night.migrate()
        return kind(night, hook)

    return make


def _of_archives(kind: Callable[[Restores, Hook], World]) -> Maker:
    def make(platform: Platform, hook: Hook, stack: contextlib.ExitStack) -> World:
        archive = stack.enter_context(archive_in(platform))
        if may_mount():
            work = stack.enter_context(small_disk(platform.folder, disks.SIZE_BYTES))
            archive.write_settings(work_dir=str(work))
        return kind(stack.enter_context(restores_in(archive)), hook)

    return make


MAKERS: dict[str, Maker] = {
    "loads": _of_loads(Loads),
    "archives": _of_archives(Archives),
    "drills": _of_archives(Drills),
    "restored": _of_archives(commands.Restored),
    "audits": _of_loads(commands.Audits),
    "watches": _of_loads(commands.Watches),
    "reports": _of_loads(commands.Reports),
    "syncs": _of_loads(commands.Syncs),
    "boards": boards.boards,
}


class Worlds:
    """One world of each kind, made when it is first asked for, and anew after a cell that failed."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self._sandbox, self._folder = sandbox, folder
        self._harmed: Sandbox | None = None
        self._made: dict[tuple[str, bool], tuple[World, contextlib.ExitStack]] = {}
        self._number = 0

    def get(self, kind: str, *, harmed: bool = False) -> World:
        """Return the world of a kind; `harmed`: one whose servers may be harmed."""
        if (kind, harmed) not in self._made:
            self._number += 1
            folder = self._folder / f"{kind}{self._number}"
            folder.mkdir()
            with contextlib.ExitStack() as stack:
                sandbox = self._to_harm() if harmed else self._sandbox
                mounts = may_mount()
                space = stack.enter_context(disks.tablespace(sandbox.home)) if mounts else None
                platform = stack.enter_context(platform_in(sandbox, folder))
                hook = stack.enter_context(hook_of(platform))
                made = MAKERS[kind](platform, hook, stack)
                if space:
                    made.disks.update(warehouse=stack.enter_context(space.used(platform)))
                self._made[kind, harmed] = made, stack.pop_all()
        return self._made[kind, harmed][0]

    def _to_harm(self) -> Sandbox:
        """Return the sandbox whose servers are harmed, with all of them running."""
        made = self._harmed or Sandbox(Home(self._folder / "sandbox"))
        with in_memory(made.home, vault=False) if self._harmed is None else contextlib.nullcontext():
            self._harmed = made
            lifecycle.up(made.home, lambda _line: None, samples=False)
        made.make_logins_cheap()
        return made

    def discard(self, kind: str, *, harmed: bool = False) -> None:
        """Let the next one have another."""
        if (kind, harmed) in self._made:
            if harmed and self._harmed:
                lifecycle.up(self._harmed.home, lambda _line: None, samples=False)
            self._made.pop((kind, harmed))[1].close()

    def close(self) -> None:
        """Remove them."""
        for kind, harmed in list(self._made):
            self.discard(kind, harmed=harmed)
        if self._harmed:
            lifecycle.down(self._harmed.home, lambda _line: None, wipe=True)


@pytest.fixture(scope="session")
def worlds(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worlds]:
    made = Worlds(sandbox, tmp_path_factory.mktemp("faults"))
    try:
        yield made
    finally:
        made.close()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, help="of the nights with random kills (default: a new one)")
    parser.addoption("--nights", type=int, default=200, help="how many of those (default: %(default)s)")


class Announcer:
    """Says at once what failed: it takes long until the end."""

    def __init__(self, reporter: pytest.TerminalReporter) -> None:
        self._reporter = reporter

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and (crash := getattr(report.longrepr, "reprcrash", None)):
            self._reporter.write_line(f"\n{report.nodeid}: {crash.message}")


def pytest_configure(config: pytest.Config) -> None:
    if reporter := config.pluginmanager.get_plugin("terminalreporter"):
        config.pluginmanager.register(Announcer(reporter))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table, whatever became of the cells."""
    properties = [
        one
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == "call"
        for one in report.user_properties
    ]
    for name, value in properties:
        if name == "counts":
            seed, counts = value
            told = ", ".join(f"{number:g} {what}" for what, number in counts.items())
            terminalreporter.write_line(f"nights with kills at random, seed {seed}: {told}")
        if name == "nights":
            seed, number, error, replay = value
            terminalreporter.write_line(f"FAILED in night {number} of seed {seed}: {error}\n{replay}")
    outcomes = [Outcome(*value) for name, value in properties if name == "fault"]
    if outcomes:
        terminalreporter.section("faults: at how many places in a step each was survived")
        for line in table.lines(outcomes, matrix.applies()):
            terminalreporter.write_line(line)
