"""Fixtures: one sandbox for all tests, and in it a platform of its own for each test that asks for one."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.sandbox import lifecycle
from pipeline.sandbox.home import Home
from tests.archive import Archive, archive_in
from tests.hooks import Hook, hook_of
from tests.night import Night
from tests.platforms import Platform, Sandbox, platform_in
from tests.restores import Restores, restores_in

# A shell lets what it starts in the background ignore SIGINT, and all that is started from there does so too:
# the tests that send it would fail.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests that kill at every stage, carry millions of rows, start further servers or go on for long. `bin/test`
# runs them; CI, which has to be quick, does not: bin/test -m endurance
ENDURANCE = (
    "tests/backup/test_drill.py",
    "tests/backup/test_restore.py",
    "tests/cli/test_alarm.py::test_a_mistake_that_is_mended",
    "tests/cli/test_alarm.py::test_a_sealed",
    "tests/cli/test_alarm.py::test_a_second",
    "tests/cli/test_alarm.py::test_a_warehouse",
    "tests/cli/test_refusals.py::test_a_vault_that_is_not",
    "tests/cli/test_refusals.py::test_sources",
    "tests/cli/test_rerun.py::test_a_backup",
    "tests/cli/test_rerun.py::test_a_rerun",
    "tests/cli/test_rerun.py::test_each_step",
    "tests/cli/test_rerun.py::test_rows_that",
    "tests/cli/test_rerun.py::test_what_failed",
    "tests/cli/test_status.py::test_a_failed_run",
    "tests/loading/test_properties.py",
    "tests/loading/test_readers.py",
    "tests/loading/test_standby.py",
    "tests/loading/test_types.py",
    "tests/sandbox/test_bench.py",
    "tests/sandbox/test_lifecycle.py::test_up_that_is_stopped",
    "tests/tasks/test_backup.py::test_a_connection",
    "tests/tasks/test_backup.py::test_a_scheduler",
    "tests/tasks/test_backup.py::test_a_step",
    "tests/tasks/test_backup.py::test_a_work_folder",
    "tests/tasks/test_backup.py::test_connections",
    "tests/tasks/test_backup.py::test_each_failure",
    "tests/tasks/test_backup.py::test_killed",
    "tests/tasks/test_backup.py::test_told_to_stop",
    "tests/tasks/test_browser.py",
    "tests/tasks/test_clock.py",
    "tests/tasks/test_connections.py",
    "tests/tasks/test_credentials.py",
    "tests/tasks/test_drill.py",
    "tests/tasks/test_etl.py::test_a_loaded_set",
    "tests/tasks/test_etl.py::test_a_parent",
    "tests/tasks/test_etl.py::test_a_step",
    "tests/tasks/test_etl.py::test_killed",
    "tests/tasks/test_etl.py::test_told_to_stop",
    "tests/tasks/test_etl.py::test_what_is_over",
    "tests/tasks/test_failures.py",
    "tests/tasks/test_log.py::test_a_night",
    "tests/tasks/test_memory.py",
    "tests/tasks/test_scheduler.py::test_a_run_goes_on",
    "tests/tasks/test_scheduler.py::test_a_wrong_password",
    "tests/tasks/test_scheduler.py::test_with_a_certificate",
    "tests/tasks/test_worker.py::test_a_failed",
    "tests/tasks/test_worker.py::test_a_run_that",
    "tests/tasks/test_worker.py::test_a_worker_that",
    "tests/tasks/test_worker.py::test_the_scheduler_forgets",
    "tests/tasks/test_worker.py::test_the_scheduler_is",
    "tests/tasks/test_worker.py::test_the_worker_that",
    "tests/tasks/test_worker.py::test_two_workers",
    "tests/test_bin.py::test_a_demo",
    "tests/test_bin.py::test_a_row",
    "tests/test_bin.py::test_bin_pipeline",
    "tests/test_bin.py::test_the_demo",
    "tests/test_bucket.py::test_memory",
    "tests/test_cron.py::test_what_does_not_listen",
    "tests/test_crontab.py::test_every_line",
    "tests/test_init.py::test_the_samples",
    "tests/test_patience.py::test_a_run_outlives",
    "tests/test_runbook.py",
    "tests/watch/test_watch.py::test_what_the_bucket",
    "tests/watch/test_watch.py::test_with_vault",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that CI leaves out."""
    for item in items:
        if item.nodeid.startswith(ENDURANCE):
            item.add_marker(pytest.mark.endurance)


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A running sandbox with the sample sources, for tests that leave those as they are."""
    home = Home(tmp_path_factory.mktemp("sandbox") / "home")
    said: list[str] = []
    try:
        lifecycle.up(home, said.append)
        yield Sandbox(home)
    finally:
        lifecycle.down(home, said.append, wipe=True)


@pytest.fixture
def platform(sandbox: Sandbox, tmp_path: Path) -> Iterator[Platform]:
    """An empty warehouse, and sources as the test asks for them: `platform.source("shop", sql, yaml)`."""
    with platform_in(sandbox, tmp_path) as made:
        yield made


@pytest.fixture
def night(platform: Platform) -> Iterator[Night]:
    """A platform with a ledger, and the steps and commands of a night on it."""
    made = Night(platform)
    made.migrate()
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
