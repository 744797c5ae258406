"""The size of a table is not to be seen in our memory: four million rows go through, Python holds none."""

import contextlib
import re
import threading
from pathlib import Path

import psutil
import pytest

from pipeline.sandbox.servers import servers
from tests.support.night import Night, next_run

pytestmark = pytest.mark.endurance

ROWS = 4_000_000
MOST_BYTES = 150 * 1024 * 1024
BIG = f"""
    CREATE TABLE big (id int, n int);
    INSERT INTO big SELECT g, g FROM generate_series(1, {ROWS}) AS g;
    ALTER TABLE big ADD PRIMARY KEY (id);
"""


class Peaks(threading.Thread):
    """Notes the greatest memory (VmHWM) of every process of the run, and of the scheduler."""

    def __init__(self, night: Night, scheduler: int) -> None:
        super().__init__()
        self._night, self._scheduler, self._ended = night, scheduler, threading.Event()
        self.bytes_by_command: dict[str, int] = {}

    def run(self) -> None:
        while not self._ended.wait(0.2):
            for process in [*self._night.ours(), psutil.Process(self._scheduler)]:
                with contextlib.suppress(OSError, psutil.NoSuchProcess):
                    command = " ".join(process.cmdline()[1:4])
                    status = Path(f"/proc/{process.pid}/status").read_text()
                    found = re.search(r"VmHWM:\s+(\d+) kB", status)
                    peak = int(found[1]) * 1024 if found else 0
                    self.bytes_by_command[command] = max(peak, self.bytes_by_command.get(command, 0))

    def stop(self) -> None:
        self._ended.set()
        self.join()


def test_four_million_rows_take_no_more_memory_than_a_few(night: Night) -> None:
    """The first load, and an increment of all of the rows, of which half are gone."""
    night.platform.source("shop", BIG, "source: shop\ntables: {big: {max_deleted: 100%}}\n")
    (luigid,) = [server for server in servers.ALL if server.name == "luigid"]
    process = luigid.process(night.platform.sandbox.home)
    assert process
    peaks = Peaks(night, process.pid)
    peaks.start()
    try:
        assert night.etl(next_run()).code == 0
        assert night.value("warehouse", "SELECT count(*) FROM shop.big") == ROWS
        night.ask("shop", "DELETE FROM big WHERE id > 3900000")
        night.ask("shop", "UPDATE big SET n = -n WHERE id <= 300000")
        assert night.etl(next_run()).code == 0
    finally:
        peaks.stop()
    assert night.differing("shop") == []
    # Luigi with the processes of its steps and of the snapshot, which are forked of it, and the scheduler.
    assert len(peaks.bytes_by_command) >= 2, peaks.bytes_by_command
    assert {command: peak for command, peak in peaks.bytes_by_command.items() if peak > MOST_BYTES} == {}
