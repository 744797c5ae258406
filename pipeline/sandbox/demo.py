"""The demo (`bin/demo`): two nights of a law school, from nothing to a warehouse that equals its sources, and
to backups that are proven.
"""

import argparse
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType

from pipeline import access, catalog, dashboards, settings
from pipeline.errors import CheckError, PipelineError, StepError, StoppedError
from pipeline.ledger import runs
from pipeline.redact import redact
from pipeline.sandbox import comparison, lifecycle, push, sources
from pipeline.sandbox.home import Home, default_path
from pipeline.sandbox.ports import ADDRESS
from pipeline.sandbox.servers import clusters
from pipeline.sandbox.servers.server import addresses, plain_environment
from pipeline.system import options

ETL = "etl"
LOOK_SECONDS = 0.1

EPILOG = """\
exit codes: 0 done; 1 a bug; 2 usage; 3 a part failed; 4 the warehouse does not equal its sources, or a
backup did not hold; 5 something is out of reach; 143 stopped
The sandbox lies in $SANDBOX_HOME, or in .sandbox in the project."""


def main() -> int:
    """Run the demo, or end it, and return the exit code."""
    parser = _parser()
    arguments = parser.parse_args()
    if arguments.wipe and not arguments.down:
        parser.error("--wipe needs --down beside it")
    home = Home(default_path())
    try:
        try:
            if arguments.down:
                _down(home, wipe=arguments.wipe)
            else:
                _Demo(home).run()
        except KeyboardInterrupt:
            raise StoppedError("stopped") from None
    except PipelineError as error:
        for line in redact(str(error)).splitlines():
            sys.stderr.write(f"demo: {line}\n")
        if not arguments.down:
            sys.stderr.write("demo: 'bin/demo' goes on from here, 'bin/demo --down' ends what is running\n")
        return error.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = options.Parser(
        prog="bin/demo",
        description="Two nights of loading on one machine: everything, then what changed; then every "
        "database is backed up, and restored to prove it. Leaves it running.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--down", action="store_true", help="end what the demo left running; its data stays")
    parser.add_argument("--wipe", action="store_true", help="with --down: remove its data as well")
    return parser


def _say(line: str = "") -> None:
    sys.stdout.write(redact(line) + "\n")
    sys.stdout.flush()


def _down(home: Home, *, wipe: bool) -> None:
    if not home.path.exists():
        _say("there is no sandbox: nothing to end")
        return
    lifecycle.down(home, _say, wipe=wipe)
    _say("the sandbox is down" + (", and removed" if wipe else "; 'bin/demo --down --wipe' removes its data"))


@contextmanager
def _part(title: str) -> Iterator[None]:
    """Say what is being done, and how long it took."""
    _say(f"\n== {title}")
    began = time.monotonic()
    yield
    _say(f"   {time.monotonic() - began:.1f} s")


class _Demo:
    """One run of the demo in one sandbox."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._now = datetime.now(UTC)

    def run(self) -> None:
        began = time.monotonic()
        with _part("The sandbox: three PostgreSQL servers, Vault, Luigi's scheduler"):
            lifecycle.up(self._home, lambda line: _say(f"   {line}"))
        with _part("The warehouse's own tables"):
            self._pipeline("migrate")
        yesterday, today = (runs.logical_date(self._now - timedelta(days=days)) for days in (1, 0))
        if self._done(today):
            self._again()
        else:
            self._nights(yesterday, today)
        with _part(
            "The analysts push a mart, and then a broken one: the night goes by the last good version"
        ):
            push.show(self._home, today, self._called, lambda line: _say(f"   {line}"))
        with _part("Every declared table, row for row: checksums over all columns, source against warehouse"):
            self._compare()
        self._back_up(today)
        with _part("What Metabase would get: each card is tried on the warehouse"):
            self._plan_dashboards()
        self._tell_where_to_look()
        _say(f"\nDone in {time.monotonic() - began:.0f} s.")

    def _nights(self, yesterday: str, today: str) -> None:
        with _part(f"Night 1, run {yesterday}"):
            self._pipeline("run", ETL, "--run", yesterday)
        with _part("A day of work in the sources: inserts, updates, deletes, new columns"):
            self._day_2()
        with _part(f"Night 2, run {today}: what changed"):
            self._pipeline("run", ETL, "--run", today)

    def _again(self) -> None:
        run = f"{self._now:%Y-%m-%dT%H%M}"
        with _part(f"Both nights were done before: an extra load, run {run}"):
            self._pipeline("run", ETL, "--run", run)

    def _done(self, run: str) -> bool:
        with (
            access.opened(self._settings) as databases,
            databases.warehouse(autocommit=True) as warehouse,
        ):
            found = runs.find(warehouse, ETL, run)
        return found is not None and found.actual_state == "done"

    def _day_2(self) -> None:
        stopping = threading.Event()
        with lifecycle.Stopping(stopping):
            changed = sources.day_2(self._home, stopping)
        _say(f"   {', '.join(changed)}" if changed else "   it had come before: nothing to do")

    def _compare(self) -> None:
        compared = comparison.compare(self._settings)
        if wrong := [str(one) for one in compared if not one.equal]:
            raise CheckError("\n".join(wrong))
        rows = sum(one.source.rows for one in compared if one.source)
        _say(f"   all {len(compared)} tables, {rows:,} rows, equal their sources")

    def _back_up(self, run: str) -> None:
        databases = sorted(self._settings.databases)
        with _part(
            f"Backups, run {run}: dumped, encrypted to two keys, uploaded to B2's emulator, read back; "
            "beside them the dashboards are written as one page of HTML"
        ):
            backups = [("run", "backup", name, "--run", run) for name in databases]
            self._at_once([*backups, ("report", "--out", str(self._report))], quiet=True)
            self._pipeline("backups")
            _say(f"   the dashboards: {self._report / 'index.html'}")
        with _part(
            "The drill: each backup restored into the third server, compared, timed, damaged, removed"
        ):
            self._pipeline("run", "drill")

    def _plan_dashboards(self) -> None:
        """Try each card on the warehouse, as `pipeline dashboards plan` does, and say what there would be."""
        configured = self._settings
        repository = catalog.read_repository(configured.require_analysts().checkout)
        declared = list(repository.dashboards.values())
        planned = dashboards.plan(configured, repository.catalog, declared)
        if planned.problems:
            raise CheckError("\n".join(planned.problems))
        _say(f"   'pipeline dashboards plan' would make {len(planned.shown)} things in an empty Metabase")

    @property
    def _report(self) -> Path:
        return self._home.path / "report"

    @property
    def _settings(self) -> settings.Settings:
        return settings.read([self._home.settings_file])

    def _pipeline(self, *arguments: str) -> None:
        """Run `pipeline` as a person would, with Luigi's lines in a file."""
        self._at_once([arguments])

    def _called(self, arguments: Sequence[str], settings_file: Path) -> int:
        """Run `pipeline` by other settings than the sandbox's own, and return its exit code."""
        lines, environment, _ = self._lines([arguments])
        return _wait_for(lines, {**environment, "LUIGI_CONFIG_PATH": str(settings_file)}, quiet=False)[0]

    def _at_once(self, commands: Sequence[Sequence[str]], *, quiet: bool = False) -> None:
        """Run `pipeline` several times at once; if that is to be quiet, show only what goes wrong."""
        lines, environment, logs = self._lines(commands)
        ended = _wait_for(lines, environment, quiet=quiet)
        for one, log, returncode in zip(commands, logs, ended, strict=True):
            if returncode:
                hint = f"; Luigi's own lines are in {log}" if log else ""
                raise StepError(f"'pipeline {' '.join(one)}' ended with {returncode}{hint}")

    def _lines(
        self, commands: Sequence[Sequence[str]]
    ) -> tuple[list[list[str | Path]], dict[str, str], list[Path | None]]:
        """Return the command lines, the environment, and where each writes Luigi's lines."""
        program = Path(sys.executable).with_name("pipeline")
        path = f"{program.parent}:{clusters.BINARIES}:{plain_environment()['PATH']}"
        environment = {**plain_environment(), **addresses(self._home), "PATH": path}
        logs = [self._home.logs / f"{one[1]}.log" if one[0] == "run" else None for one in commands]
        lines: list[list[str | Path]] = [
            [program, *one, *(["--log-file", str(log)] if log else [])]
            for one, log in zip(commands, logs, strict=True)
        ]
        return lines, environment, logs

    def _tell_where_to_look(self) -> None:
        luigid = f"http://{ADDRESS}:{self._home.state.ports['luigid']}"
        _say("\nWhere to look")
        for what, where in {
            "the chains": f"{luigid}/static/visualiser/index.html",
            "  log in": "as operator; its password: bin/sandbox password operator",
            "the dashboards": f"{self._report / 'index.html'}",
            "the warehouse": "bin/sandbox psql warehouse",
            "a source": "bin/sandbox psql hr    (or records, service_desk)",
            "the last night": 'eval "$(bin/sandbox env)", then: pipeline status',
            "the backups": "pipeline backups; pipeline restore hr --into-new hr_restored",
            "Luigi's lines": f"{self._home.logs}/etl.log, backup.log, drill.log",
            "again": "change something in a source, then: bin/demo",
            "the end": "bin/demo --down",
        }.items():
            _say(f"   {what:<15} {where}")


def _wait_for(
    commands: Sequence[Sequence[str | Path]], environment: dict[str, str], *, quiet: bool
) -> list[int]:
    """Run programs at once to their ends. Ctrl-C, SIGTERM, a closed terminal reach each once, as SIGTERM."""
    asked = False

    def ask(_signal: int, _frame: FrameType | None) -> None:
        nonlocal asked
        asked = True

    previous = {
        number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    # A session of its own: else the terminal would send it a second Ctrl-C while it tidies up.
    # Told to stop as well if this process is killed, so that nothing works on that nobody knows of.
    setpriv = shutil.which("setpriv")
    tether = [setpriv, "--pdeathsig", "TERM"] if setpriv else []
    try:
        with ExitStack() as stack:
            processes = [
                stack.enter_context(
                    subprocess.Popen(
                        [*tether, *map(str, arguments)], env=environment, stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL if quiet else None, start_new_session=True,
                    )
                )
                for arguments in commands
            ]  # fmt: skip
            told = False
            while any(process.poll() is None for process in processes):
                if asked and not told:
                    for process in processes:
                        process.terminate()
                    told = True
                time.sleep(LOOK_SECONDS)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if asked:
        raise StoppedError("stopped")
    return [process.returncode for process in processes]


if __name__ == "__main__":
    sys.exit(main())
