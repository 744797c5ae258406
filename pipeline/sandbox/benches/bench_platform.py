"""A source and a warehouse of their own in the sandbox, and what a command costs there: for `bin/bench`.

Beside the time on the clock it is told how long processors were at work: other work on the machine changes
that far less.
"""

import contextlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import TypeVar

import psutil

from pipeline.errors import StepError, UsageError
from pipeline.postgres import Connection
from pipeline.sandbox import configuration, provision, sources
from pipeline.sandbox.home import PROJECT, Home
from pipeline.sandbox.ports import ADDRESS
from pipeline.sandbox.servers import clusters, servers
from pipeline.sandbox.servers.server import addresses
from pipeline.system import command

Answer = TypeVar("Answer")

NAME, ROLE = "bench", "bench_pipeline"


@dataclass(frozen=True)
class Cost:
    """What something took: seconds on the clock, and seconds of processors, by who was at work."""

    seconds: float
    processors: Mapping[str, float] = field(default_factory=dict)
    # What a command said, if it was one.
    output: str = ""

    @property
    def processor_seconds(self) -> float:
        return sum(self.processors.values())

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in self.processors.items())
        return f"{self.seconds:.1f} s, processors {self.processor_seconds:.1f} s ({parts})"


@dataclass(frozen=True)
class Platform:
    """Where `pipeline` loads one source, NAME, into a warehouse of that name."""

    home: Home
    environment: Mapping[str, str]
    # Each measurement is another run to the scheduler, and none is one that a person would type.
    first: date

    def run(self, night: int, build: Path | None = None) -> Cost:
        """Load in the run of that night, by another build if one is given; return what the command took."""
        return self.pipeline("run", "etl", "--run", str(self.first + timedelta(days=night)), build=build)

    def pipeline(self, *arguments: str, build: Path | None = None) -> Cost:
        """Run a command to its end; raise StepError if it fails."""
        program = Path(sys.executable).with_name("pipeline")
        with self.measured() as costs:
            output = command.run([program, *arguments], environment={**self.environment, **_of(build)})
        return replace(costs[0], output=output)

    @contextlib.contextmanager
    def measured(self) -> Iterator[list[Cost]]:
        """Give the block a list that holds what it took once it is over."""
        costs: list[Cost] = []
        before, began = self._at_work(), time.monotonic()
        yield costs
        seconds, after = time.monotonic() - began, self._at_work()
        costs.append(Cost(seconds, {name: after[name] - before[name] for name in after}))

    def _at_work(self) -> dict[str, float]:
        """Return the seconds that processors have worked for whom: our commands, and each server."""
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = {"ours": used.ru_utime + used.ru_stime}
        for server in servers.ALL:
            process = server.process(self.home)
            if process is not None:
                seconds[server.name] = sum(
                    _seconds(one) for one in [process, *process.children(recursive=True)]
                )
        return seconds

    def source(self, statement: str) -> None:
        """Change the source."""
        with clusters.connection(self.home, provision.SOURCES, NAME) as connection:
            connection.cursor().execute(statement)

    def ask(self, question: Callable[[Connection], Answer]) -> Answer:
        """Return what a question to the warehouse's ledger is answered."""
        with clusters.connection(self.home, provision.WAREHOUSE, NAME) as connection:
            return question(connection)

    def empty(self, build: Path | None = None) -> None:
        """Make the warehouse anew, as that build has it."""
        with clusters.connection(self.home, provision.WAREHOUSE, "postgres") as server:
            provision.remove_warehouse(self.home, server, NAME, ROLE)
            provision.warehouse(self.home, server, NAME, NAME, role=ROLE)
            server.cursor().execute("CHECKPOINT")
        self.pipeline("migrate", build=build)


@contextlib.contextmanager
def built(revision: str | None) -> Iterator[list[tuple[str, Path | None]]]:
    """Give the block the builds that are measured, each with how its figures are told: this one, and REV."""
    if revision is None:
        yield [("", None)]
        return
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "archive.tar")
        packing = ["git", "-C", str(PROJECT), "archive", f"--output={archive}", revision]
        if subprocess.run(packing, check=False).returncode:
            raise UsageError(f"{revision}: git has no such commit, see above")
        # The one way that Debian's Python 3.11.2 and later ones have in common.
        shutil.unpack_archive(archive, folder)
        for code in (PROJECT, Path(folder)):
            _compile(code)
        require_own_code(revision, Path(folder))
        yield [("", None), (f", by {revision}", Path(folder))]


def require_own_code(revision: str, build: Path) -> None:
    """Raise StepError unless a command that is measured as this build's runs the code of its folder."""
    code = "import pipeline, tasks; print(pipeline.__file__, tasks.__file__, sep='\\n')"
    output = command.run(command.python_code(code), environment={**os.environ, **_of(build)})
    for file in output.splitlines():
        if not Path(file).is_relative_to(build):
            raise StepError(
                f"{file} would run instead of that of {revision}",
                hint="measure against a commit that has pipeline/ and tasks/",
            )


def _of(build: Path | None) -> dict[str, str]:
    # What is found there goes before what is installed.
    return {} if build is None else {"PYTHONPATH": str(build)}


def _compile(code: Path) -> None:
    """Compile the code below a folder, as a release is: else the first run would pay for it."""
    there = [code / name for name in ("pipeline", "tasks") if (code / name).is_dir()]
    command.run(command.python("compileall", "-q", *there))


def _seconds(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        # Of children too that have ended.
        return float(times.user + times.system + times.children_user + times.children_system)
    return 0.0


@contextlib.contextmanager
def platform(
    home: Home,
    tables: Sequence[str],
    make: str,
    marts: Mapping[str, str] | None = None,
    scheduler_port: int | None = None,
) -> Iterator[Platform]:
    """Make a source with these tables by the statements `make`, and an empty warehouse, for the block.

    `marts` has the SQL of each mart that is built of them. `scheduler_port` is that of a scheduler of its
    own; without it the sandbox's is used.
    """
    # What a measurement that was killed has left.
    provision.remove_source(home, NAME)
    sources.make(home, NAME, None, threading.Event(), as_owner=True)
    with tempfile.TemporaryDirectory() as temporary:
        try:
            provision.source(home, NAME)
            first = date(2000, 1, 1) + timedelta(days=int(time.time()) % 7000)
            settings_file = str(_settings(home, tables, marts or {}, Path(temporary), scheduler_port))
            environment = {**os.environ, **addresses(home), "LUIGI_CONFIG_PATH": settings_file}
            made = Platform(home, environment, first)
            made.source(make)
            made.source("VACUUM ANALYZE")
            made.empty()
            yield made
        finally:
            with clusters.connection(home, provision.WAREHOUSE, "postgres") as server:
                provision.remove_warehouse(home, server, NAME, ROLE)
            provision.remove_source(home, NAME)


def _settings(
    home: Home,
    tables: Sequence[str],
    marts: Mapping[str, str],
    temporary: Path,
    scheduler_port: int | None,
) -> Path:
    """Write settings that know only the source and the warehouse of the measurement."""
    (temporary / "sources").mkdir()
    declared = "".join(f"  {name}: {{}}\n" for name in tables)
    (temporary / "sources" / f"{NAME}.yaml").write_text(f"source: {NAME}\ntables:\n{declared}")
    (temporary / "marts").mkdir()
    for name, query in marts.items():
        (temporary / "marts" / f"{name}.sql").write_text(query)
    shared = configuration.sections(home)
    own = {name: values for name, values in shared.items() if not name.startswith(configuration.NAMED)}
    own["warehouse"] = {"secret": NAME}
    own["analysts"] = {"checkout": str(temporary)}
    own[f"source.{NAME}"] = {"secret": f"source/{NAME}"}
    if scheduler_port is not None:
        own["core"] = {**shared["core"], "default-scheduler-port": str(scheduler_port)}
        own["visualizer"] = {**shared["visualizer"], "url": f"http://{ADDRESS}:{scheduler_port}"}
    path = temporary / "luigi.cfg"
    path.write_text(configuration.render(configuration.template(), own))
    return path
