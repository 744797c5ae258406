"""What a clock starts by bin/cron: of one failure one message comes, whoever has noticed it first."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipeline import postgres
from pipeline.sandbox.home import PROJECT
from tests.support.hooks import Hook
from tests.support.night import Night, next_run, wait_until

pytestmark = pytest.mark.endurance


class Clock:
    """Starts `pipeline run etl` as docs/crontab does."""

    def __init__(self, shop: Night) -> None:
        self._shop = shop
        folder = shop.platform.folder
        self.environment = {
            **shop.platform.env,
            "CRON_STATE": str(folder / "cron"),
            "CRON_ALERTS": str(folder / "alerts"),
        }

    def start(self, run: str, *options: str) -> "subprocess.Popen[str]":
        program = Path(sys.executable).with_name("pipeline")
        started = subprocess.Popen(
            [PROJECT / "bin" / "cron", "--lock", "etl", *options, program, "run", "etl", "--run", run],
            env=self.environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._shop.started.append(started)
        return started

    def run(self, run: str, *options: str) -> int:
        started = self.start(run, *options)
        started.communicate(timeout=200)
        return started.returncode


@contextlib.contextmanager
def held(shop: Night, run: str, *options: str) -> Iterator["subprocess.Popen[str]"]:
    """Start a load whose extraction of one table waits, as long as the block lasts."""
    with shop.platform.connect("shop") as blocker:
        blocker.autocommit = False
        postgres.rows(blocker, "LOCK TABLE purchase IN ACCESS EXCLUSIVE MODE")
        started = Clock(shop).start(run, *options)
        query = "SELECT pid FROM ops.step WHERE run = %s AND name = 'shop.purchase' AND state = 'running'"
        wait_until(lambda: shop.ask("warehouse", query, (run,)), "the extraction has begun")
        yield started


def test_what_a_step_has_told_its_parent_and_cron_do_not_tell(hook: Hook, shop: Night) -> None:
    run = next_run()
    reader = shop.platform.reader("shop")
    shop.ask("shop", f"REVOKE SELECT ON purchase FROM {reader}")
    assert Clock(shop).run(run) == 3
    assert hook.received() == [("failed", "etl/shop.purchase")]
    shop.ask("shop", f"GRANT SELECT ON purchase TO {reader}")
    assert Clock(shop).run(run) == 0
    assert hook.received()[1:] == [("recovered", "etl/shop.purchase")]


@pytest.mark.parametrize("how", ["kill", "limit"])
def test_a_parent_that_cannot_say_so_or_is_ended_is_told_once(hook: Hook, shop: Night, how: str) -> None:
    """Killed, it is told by its Luigi or by cron; told to stop by cron, for it took too long, by itself."""
    run = next_run()
    with held(shop, run, *(["--timeout", "25s"] if how == "limit" else [])) as started:
        if how == "kill":
            (limiter,) = [one for one in psutil.Process(started.pid).children() if one.name() == "timeout"]
            (parent,) = limiter.children()
            parent.send_signal(signal.SIGKILL)
        _, told = started.communicate(timeout=100)
        assert started.returncode == (137 if how == "kill" else 3), told
        wait_until(lambda: not shop.ours(), "all have ended", 30)
    assert Clock(shop).run(run) == 0
    assert hook.received() == [("failed", "run/etl"), ("recovered", "run/etl")]
