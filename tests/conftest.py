"""Fixtures: one sandbox for all tests, and in it a platform of its own for each test that asks for one."""

import contextlib
import gc
import importlib
import math
import os
import signal
from collections import defaultdict
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest

from pipeline.sandbox import lifecycle
from pipeline.sandbox.home import Home
from pipeline.sandbox.servers import clusters, servers
from tests.support.archive import Archive, archive_in
from tests.support.hooks import Hook, hook_of
from tests.support.lending import Lender
from tests.support.memory import in_memory
from tests.support.night import Night
from tests.support.platforms import Platform, Sandbox, platform_in
from tests.support.restores import Restores, restores_in

# A shell lets what it starts in the background ignore SIGINT, and all that is started from there does so too:
# the tests that send it would fail.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Those that run tests side by side have ports apart: a server that a test ends would find its own taken, when
# it starts again, by a sandbox that somebody else began in between.
PORTS_APART = 500
if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    for server in servers.ALL:
        server.preferred_port += PORTS_APART * (1 + int(worker.removeprefix("gw")))

# How long an example takes is the machine's business.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep what is imported and collected out of the search for garbage: it stays, and is most there is."""
    gc.disable()
    try:
        if worker:
            _import_a_share(int(worker.removeprefix("gw")), int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def _import_a_share(number: int, of: int) -> None:
    """Import some of the tests before all of them.

    What pytest makes of a file lies on disk from then on, for those who import the other shares meanwhile.
    """
    here = Path(__file__).parent
    for path in sorted(here.rglob("test_*.py"))[number::of]:
        # What is wrong with it is told when it is collected.
        with contextlib.suppress(Exception):
            importlib.import_module(".".join(path.relative_to(here.parent).with_suffix("").parts))


# About how many times as long as a quick test one of endurance takes, where it does not say what it may take.
ENDURANCE = 30


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first: several are run at once, and none should be left for the end."""
    weights: defaultdict[Path, float] = defaultdict(float)
    for item in items:
        weights[item.path] += _weight(item)
    items.sort(key=lambda item: -weights[item.path])


def _weight(item: pytest.Item) -> float:
    if limit := item.get_closest_marker("timeout"):
        return float(limit.args[0] or math.inf)
    return ENDURANCE if item.get_closest_marker("endurance") else 1


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """A command that is run within a test's own process leaves its handlers, to all that is forked later."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A running sandbox without the sample sources."""
    home = Home(tmp_path_factory.mktemp("sandbox") / "home")
    said: list[str] = []
    try:
        with in_memory(home):
            lifecycle.up(home, said.append, samples=False)
        made = Sandbox(home)
        made.make_logins_cheap()
        lender = Lender(home)
        with contextlib.closing(lender), pytest.MonkeyPatch.context() as patch:
            patch.setattr(clusters, "connection", lender.connection)
            yield made
    finally:
        lifecycle.down(home, said.append, wipe=True)


@pytest.fixture
def platform(request: pytest.FixtureRequest, sandbox: Sandbox, tmp_path: Path) -> Iterator[Platform]:
    """An empty warehouse, and sources as the test asks for them: `platform.source("shop", sql, yaml)`."""
    with platform_in(sandbox, tmp_path, migrated="night" in request.fixturenames) as made:
        yield made


@pytest.fixture
def night(platform: Platform) -> Iterator[Night]:
    """A platform with a ledger, and the steps and commands of a night on it."""
    made = Night(platform)
    if not platform.migrated:
        made.migrate()
        platform.own.keep()
    yield made
    made.close()


@pytest.fixture
def hook(platform: Platform) -> Iterator[Hook]:
    """A webhook of this test's own, to which the platform's alerts go."""
    with hook_of(platform) as made:
        yield made


@pytest.fixture
def archive(platform: Platform) -> Iterator[Archive]:
    """A platform whose databases are backed up into a bucket of this test's own."""
    with archive_in(platform) as made:
        yield made


@pytest.fixture
def restores(archive: Archive) -> Iterator[Restores]:
    """An archive whose backups can be restored into the drill server."""
    with restores_in(archive) as made:
        yield made
