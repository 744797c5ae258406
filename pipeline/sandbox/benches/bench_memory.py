"""The most memory that each process of ours takes, and whether it grows with rows or tables: for `bin/bench`.

`VmHWM` of the kernel: what was resident at the most, shared pages included; and the proportional share
(`Pss`) of all of ours together at the worst moment, in which what several share counts once.
"""

import contextlib
import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from pipeline import chains
from pipeline.loading import snapshot_holder
from pipeline.sandbox.benches import bench_nights, bench_platform, bench_scheduler
from pipeline.sandbox.benches.bench_platform import Cost
from pipeline.sandbox.benches.figures import Figures
from pipeline.sandbox.home import Home
from pipeline.sandbox.ports import any_free

POLL_SECONDS = 0.2
MEBIBYTE = 2**20
FEW_ROWS, FEW_TABLES = 1_000_000, 3
TOGETHER = "all together"
NAMES = {
    "tasks.scheduler": "scheduler",
    "tasks.worker.run": "Luigi",
}


class Peaks:
    """The greatest memory, in bytes, of each of our processes by what it does; seen by looking often."""

    def __init__(self, settings_file: str, scheduler: int) -> None:
        self._settings_file, self._scheduler = settings_file, scheduler
        self.by_task: dict[str, int] = {}

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Look at the processes for as long as the block lasts."""
        # The scheduler was there before: the kernel forgets what it took to start, as if it began here.
        Path(f"/proc/{self._scheduler}/clear_refs").write_text("5")
        ended = threading.Event()
        looking = threading.Thread(target=self._sample, args=(ended,))
        looking.start()
        try:
            yield
        finally:
            ended.set()
            looking.join()

    def _sample(self, ended: threading.Event) -> None:
        while not ended.wait(POLL_SECONDS):
            together = 0
            for process in psutil.process_iter():
                with contextlib.suppress(psutil.Error, OSError):
                    if process.pid == self._scheduler or self._is_ours(process):
                        self._note(_task(process), _kibibytes(process, "status", "VmHWM"))
                        together += _kibibytes(process, "smaps_rollup", "Pss")
            self._note(TOGETHER, together)

    def _is_ours(self, process: psutil.Process) -> bool:
        return process.environ().get("LUIGI_CONFIG_PATH") == self._settings_file

    def _note(self, task: str, size_bytes: int) -> None:
        self.by_task[task] = max(self.by_task.get(task, 0), size_bytes)


def _task(process: psutil.Process) -> str:
    if process.name().startswith(f"{snapshot_holder.PROCESS} "):
        return "snapshot holder"
    arguments = " ".join(process.cmdline())
    task = next((name for module, name in NAMES.items() if module in arguments), chains.ETL.command())
    parent = process.parent() if task == NAMES["tasks.worker.run"] else None
    return "one step" if parent and "tasks.worker.run" in " ".join(parent.cmdline()) else task


def _kibibytes(process: psutil.Process, file: str, key: str) -> int:
    match = re.search(rf"^{key}:\s+(\d+) kB", Path(f"/proc/{process.pid}/{file}").read_text(), re.MULTILINE)
    return int(match[1]) * 1024 if match else 0


def memory(home: Home, rows: int, tables: int) -> Figures:
    """Measure two loads of one table, of few rows and of many, and two of few and of many tables."""
    figures = Figures("memory", "MiB")
    few = _peaks(home, ["entry"], bench_nights.LARGE.format(rows=FEW_ROWS))
    _compare(figures, f"{rows:,} rows", _peaks(home, ["entry"], bench_nights.LARGE.format(rows=rows)), few)
    few = _peaks(home, *_small(FEW_TABLES))
    _compare(figures, f"{tables:,} tables", _peaks(home, *_small(tables)), few)
    return figures


def _small(count: int) -> tuple[Sequence[str], str]:
    names = [f"small_{number:04}" for number in range(count)]
    return names, "".join(bench_nights.SMALL.format(name=name) for name in names)


def _peaks(home: Home, tables: Sequence[str], make: str) -> dict[str, int]:
    """Measure one load; its scheduler is a new one, which remembers no other measurement's steps."""
    port = any_free()
    with (
        bench_platform.platform(home, tables, make, scheduler_port=port) as platform,
        bench_scheduler.served(platform, port) as scheduler,
    ):
        peaks = Peaks(platform.environment["LUIGI_CONFIG_PATH"], scheduler.pid)
        with peaks.watched():
            platform.run(0)
    return peaks.by_task


def _compare(figures: Figures, what: str, many: dict[str, int], few: dict[str, int]) -> None:
    for task in sorted(many.keys() & few.keys()):
        figures.add(f"{task}, {what}", Cost(many[task] / MEBIBYTE), Cost(few[task] / MEBIBYTE))
