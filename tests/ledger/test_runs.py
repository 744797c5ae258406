"""What is believed of a run whose process ended: by its number alone nobody can tell."""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psutil
import pytest

from pipeline import ledger
from pipeline.cli.runs import etl, supervise
from pipeline.errors import StoppedError
from pipeline.ledger import liveness
from pipeline.system import process_tree
from tests.support.night import Night, next_run, wait_until

STEP = """
    INSERT INTO ops.step (run, task, name, state, host, pid, started_at) VALUES (%s, %s, %s, %s, %s, %s, %s)
    """


@pytest.fixture
def zombie() -> Iterator[int]:
    """Return the number of a process that has ended, and whose exit code nobody has asked for."""
    ended = subprocess.Popen(["/bin/true"])
    wait_until(lambda: psutil.Process(ended.pid).status() == psutil.STATUS_ZOMBIE, "it ends")
    yield ended.pid
    ended.wait()


def begin(night: Night, run: str, pid: int, since: datetime) -> None:
    """Write down a step that a process of this machine is at."""
    place = (process_tree.place(), pid, since)
    night.ask("warehouse", STEP, (run, "ExtractTable", "shop.item", "running", *place))


def cleared(night: Night, run: str) -> str:
    """Clear the run's dead steps, and return the state of the one that there is."""
    with night.warehouse() as warehouse:
        liveness.fail_killed_steps(warehouse, run, ["shop.item"])
    step = night.step(run, "ExtractTable", "shop.item")
    assert step is not None
    return step.state


def test_a_step_whose_process_number_was_given_to_another_is_dead(night: Night) -> None:
    run = next_run()
    begin(night, run, os.getpid(), datetime.now(UTC) - timedelta(days=365))
    assert cleared(night, run) == "failed"


def test_a_step_that_was_begun_while_all_were_told_to_end_says_why_it_ended(
    night: Night, zombie: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Luigi ends what it had just forked, before anybody else has seen it."""
    night.platform.source(
        "shop", "CREATE TABLE item (id int PRIMARY KEY)", "source: shop\ntables: {item: }\n"
    )
    night.platform.write_settings()
    for key in ("LUIGI_CONFIG_PATH", "VAULT_ADDR"):
        if key in night.platform.env:
            monkeypatch.setenv(key, night.platform.env[key])
    run = next_run()

    def stopped(*_: object) -> None:
        begin(night, run, zombie, datetime.now(UTC))
        raise StoppedError("stopped by a signal")

    monkeypatch.setattr(supervise.Supervision, "run", stopped)
    arguments = argparse.Namespace(
        run=run, source=None, table=[], clear=None, full=False, workers=1, log_file=None
    )
    with pytest.raises(StoppedError):
        etl.run_etl(arguments)
    step = night.step(run, "ExtractTable", "shop.item")
    assert step is not None
    assert (step.state, step.error, step.exit_code) == ("failed", "stopped by a signal", 143)


@pytest.fixture(scope="module")
def elsewhere() -> str:
    """Return the place of a process in a PID namespace of its own, as Nomad's driver exec gives each task."""
    code = "from pipeline.system import process_tree; print(process_tree.place())"
    line = ["unshare", "--user", "--map-root-user", "--pid", "--fork", sys.executable, "-P", "-c", code]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no namespaces here: {done.stderr.strip()}")
    return done.stdout.strip()


def test_a_step_in_another_container_of_this_machine_is_judged_by_its_heartbeat(
    night: Night, elsewhere: str
) -> None:
    """Its number is nobody's here, or another's: it was taken for killed, and an assistant's work with it."""
    assert elsewhere.startswith(f"{process_tree.place().partition('/')[0]}/")
    run, dead = next_run(), 2**22 - 1
    place = (elsewhere, dead, datetime.now(UTC))
    night.ask("warehouse", STEP, (run, "ExtractTable", "shop.item", "running", *place))
    assert cleared(night, run) == "running"
    with night.warehouse() as warehouse:
        step = next(iter(ledger.steps_of(warehouse, run)))
        assert liveness.is_at_work(warehouse, step)
    silent = "UPDATE ops.step SET seen_at = clock_timestamp() - interval '1 hour' WHERE run = %s"
    night.ask("warehouse", silent, (run,))
    with night.warehouse() as warehouse:
        assert not liveness.is_at_work(warehouse, step)


def test_a_step_whose_process_is_a_zombie_is_dead(night: Night, zombie: int) -> None:
    run = next_run()
    begin(night, run, zombie, datetime.now(UTC))
    assert cleared(night, run) == "failed"


def test_a_step_whose_process_goes_on_is_alive_though_the_warehouse_has_another_clock(night: Night) -> None:
    run = next_run()
    living = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE)
    begin(night, run, living.pid, datetime.now(UTC) - timedelta(seconds=20))
    assert cleared(night, run) == "running"
    living.communicate()


def test_one_place_decides_whether_a_process_lives(zombie: int) -> None:
    """The same for a run, a step, a worker, a backup's lock and the sandbox's servers."""
    now = datetime.now(UTC).timestamp()
    assert process_tree.is_at_work(os.getpid(), now)
    assert not process_tree.is_at_work(os.getpid(), now - 365 * 86400)
    assert not process_tree.is_at_work(zombie, now)
    assert not process_tree.is_at_work(2**22 + 1, now)
