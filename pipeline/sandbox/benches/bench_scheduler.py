"""What one scheduler can bear: a night of many tables, whose steps only wait, for `bin/bench`.

The scheduler is a real one, with its door, its state and its history; the workers are its protocol alone: one
tells it of all steps, as a run does, and all of them take steps, wait, and tell that they are done.
"""

import concurrent.futures
import contextlib
import http.client
import json
import queue
import socket
import statistics
import subprocess
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psutil

from pipeline import chains
from pipeline.errors import StepError
from pipeline.sandbox import provision
from pipeline.sandbox.benches import bench_platform
from pipeline.sandbox.benches.bench_platform import Cost, Platform
from pipeline.sandbox.benches.figures import Figures
from pipeline.sandbox.home import Home
from pipeline.sandbox.ports import ADDRESS, any_free
from pipeline.system import command

TABLES, WORKERS = 5000, 20
STEPS = (chains.EXTRACT_TASK, chains.VALIDATE_TASK, chains.LOAD_TASK)
# What a step of a small table takes that has not changed.
STEP_SECONDS = 0.05
STARTING_SECONDS = 60
RUN = "2000-01-01"
# So many of a worker's calls are its first.
FIRST = 10


class Caller:
    """One worker, as the scheduler sees it: its calls over one connection, and how long each took."""

    def __init__(self, port: int, password: str, name: str) -> None:
        self._connection = http.client.HTTPConnection(ADDRESS, port, timeout=600)
        login = b64encode(f"worker:{password}".encode()).decode()
        self._headers = {
            "Authorization": f"Basic {login}",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        self.name = name
        self.seconds: dict[str, list[float]] = {}

    def call(self, method: str, **data: Any) -> Any:
        """Make one call. Raise StepError if it is refused."""
        body = urlencode({"data": json.dumps({"worker": self.name, **data})})
        begun = time.monotonic()
        self._connection.request("POST", f"/api/{method}", body, self._headers)
        answer = self._connection.getresponse()
        answered = answer.read()
        self.seconds.setdefault(method, []).append(time.monotonic() - begun)
        if answer.status != http.client.OK:
            raise StepError(f"the scheduler answers {method} with {answer.status}: {answered[:200]!r}")
        return json.loads(answered)["response"]

    def join(self) -> None:
        """Say by which catalog it goes: else it is given nothing."""
        self.call("add_worker", info=[("catalog", "bench")])

    def work(self, left: "queue.SimpleQueue[None]") -> None:
        """Take steps and wait as long as each takes, until all are done, each of which is one of `left`."""
        while not left.empty():
            given = self.call("get_work", host=socket.gethostname(), assistant=True, current_tasks=[])
            time.sleep(STEP_SECONDS)
            if given["task_id"] is not None:
                self.call("add_task", task_id=given["task_id"], status="DONE", runnable=False)
                left.get_nowait()


def scheduler(home: Home, count: int) -> Figures:
    """Measure one night of so many tables; the yardstick is what the steps alone would take."""
    figures = Figures("scheduler")
    password = provision.password(home, "worker")
    make = "CREATE TABLE entry (id int PRIMARY KEY)"
    port = any_free()
    with bench_platform.platform(home, ["entry"], make) as platform, served(platform, port) as process:
        run = Caller(port, password, "run")
        begun = time.monotonic()
        for number in range(count):
            _register(run, f"small_{number:05}")
        seconds = time.monotonic() - begun
        figures.add(
            f"{count:,} tables, told to it", Cost(seconds), Cost(count * len(STEPS) * STEP_SECONDS / WORKERS)
        )
        workers = [Caller(port, password, f"worker-{number}") for number in range(WORKERS)]
        for one in [run, *workers]:
            one.join()
        steps, left = count * len(STEPS), queue.SimpleQueue[None]()
        for _ in range(steps):
            left.put(None)
        begun, used = time.monotonic(), sum(process.cpu_times()[:2])
        with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(lambda worker: worker.work(left), workers))
        took, used = time.monotonic() - begun, sum(process.cpu_times()[:2]) - used
        least = steps * STEP_SECONDS / WORKERS
        figures.add(f"{count:,} tables, {WORKERS} workers", Cost(took, {"scheduler": used}), Cost(least))
        figures.notes = [
            f"{1000 * seconds / steps:.1f} ms to tell it of a step",
            f"{1000 * took / steps:.1f} ms for each step that is done, {1000 * used / steps:.1f} ms of "
            "the scheduler's processor",
            *_calls(workers),
            f"memory of the scheduler: {process.memory_info().rss / 2**20:.0f} MiB",
        ]
    return figures


def _register(run: Caller, table: str) -> None:
    before: list[str] = []
    for step in STEPS:
        task = f"{step}_bench_{table}_{RUN}"
        run.call(
            "add_task",
            task_id=task,
            family=step,
            module="tasks.etl",
            deps=before,
            priority=0,
            status="PENDING",
            runnable=True,
            params={"source": "bench", "table": table, "run": RUN},
        )
        before = [task]


def _calls(workers: list[Caller]) -> Iterator[str]:
    """Tell how long a worker waits for an answer: at the median, and for the slowest of a hundred."""
    for method in ("get_work", "add_task"):
        seconds = sorted(one for worker in workers for one in worker.seconds.get(method, []))
        begun = statistics.median(one for worker in workers for one in worker.seconds[method][:FIRST])
        yield (
            f"{method}: {len(seconds):,} calls, {1000 * statistics.median(seconds):.0f} ms at the median, "
            f"{1000 * seconds[len(seconds) * 99 // 100]:.0f} ms for the slowest of a hundred, "
            f"{1000 * begun:.0f} ms at the beginning"
        )


@contextlib.contextmanager
def served(platform: Platform, port: int) -> Iterator[psutil.Process]:
    """Serve a scheduler of its own at that port for the block; it has nothing to remember yet."""
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder, "state.pickle")
        line = command.python(
            "tasks.scheduler", "--port", str(port), "--address", ADDRESS, "--state-path", str(state)
        )
        with Path(folder, "log").open("w") as log:
            started = subprocess.Popen(line, env=dict(platform.environment), stdout=log, stderr=log)
            try:
                _await(port, started)
                yield psutil.Process(started.pid)
            finally:
                started.terminate()
                started.wait()


def _await(port: int, served: "subprocess.Popen[bytes]") -> None:
    ends_at = time.monotonic() + STARTING_SECONDS
    while served.poll() is None and time.monotonic() < ends_at:
        try:
            socket.create_connection((ADDRESS, port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise StepError(f"the scheduler does not answer on port {port}")
