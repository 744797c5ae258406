"""The demo (`bin/demo`): two nights of a law school, from nothing to a warehouse that equals its sources, and
to backups that are proven.
"""

import argparse
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from psycopg2 import sql

from pipeline import access, catalog, chains, dashboards, postgres, settings
from pipeline.errors import CheckError, PipelineError, StoppedError
from pipeline.ledger import runs
from pipeline.redact import redact
from pipeline.sandbox import comparison, lifecycle, push, sources
from pipeline.sandbox.commands import Commands
from pipeline.sandbox.home import Home, default_path
from pipeline.sandbox.ports import ADDRESS
from pipeline.step import State
from pipeline.system import options

ETL = "etl"

EPILOG = """\
exit codes: 0 done; 1 a bug; 2 usage; 3 a part failed; 4 the warehouse differs from its sources, or a
drill did not hold; 5 something is out of reach; 143 stopped
The sandbox is in $SANDBOX_HOME, or in .sandbox in the project."""


def main() -> int:
    """Run the demo, or end it, and return the exit code."""
    parser = _parser()
    arguments = parser.parse_args()
    if arguments.wipe and not arguments.down:
        parser.error("--wipe needs --down as well")
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
            sys.stderr.write("demo: 'bin/demo' continues here, 'bin/demo --down' stops what is running\n")
        return error.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = options.Parser(
        prog="bin/demo",
        description="Two nights of loading on one machine: everything, then what changed. Meanwhile every "
        "database is backed up, and restored to prove it. Leaves everything running.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--down", action="store_true", help="stop what the demo left running; its data stays")
    parser.add_argument("--wipe", action="store_true", help="with --down: remove its data as well")
    return parser


def _print_line(line: str = "") -> None:
    sys.stdout.write(redact(line) + "\n")
    sys.stdout.flush()


def _down(home: Home, *, wipe: bool) -> None:
    if not home.path.exists():
        _print_line("there is no sandbox; nothing to stop")
        return
    lifecycle.down(home, _print_line, wipe=wipe)
    _print_line(
        "the sandbox is down" + (", and removed" if wipe else "; 'bin/demo --down --wipe' removes its data")
    )


@contextmanager
def _part(title: str) -> Iterator[None]:
    """Say what is being done, and how long it took."""
    _print_line(f"\n== {title}")
    began = time.monotonic()
    yield
    _print_line(f"   {time.monotonic() - began:.1f} s")


class _Demo:
    """One run of the demo in one sandbox."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._now = datetime.now(UTC)
        self._commands = Commands(home, _print_line)
        self._pipeline = self._commands.run

    def run(self) -> None:
        began = time.monotonic()
        with _part("The sandbox: three PostgreSQL servers, Vault, Luigi's scheduler"):
            lifecycle.up(self._home, lambda line: _print_line(f"   {line}"))
        with _part("The warehouse's own tables"):
            self._pipeline("migrate")
        yesterday, today = (runs.logical_date(self._now - timedelta(days=days)) for days in (1, 0))
        if self._done(today):
            run, title = f"{self._now:%Y-%m-%dT%H%M}", "Both nights are already done: an extra load"
        else:
            self._first_night(yesterday)
            run, title = today, "Night 2: what changed"
        self._load_and_back_up(f"{title}, run {run}", run, today)
        self._prove_and_show(today)
        self._print_places()
        _print_line(f"\nDone in {time.monotonic() - began:.0f} s.")

    def _first_night(self, run: str) -> None:
        with _part(f"Night 1, run {run}"):
            self._pipeline("run", ETL, "--run", run)
        with _part("A day of work in the sources: inserts, updates, deletes, new columns"):
            self._day_2()

    def _load_and_back_up(self, title: str, run: str, backup_run: str) -> None:
        backups = [("run", "backup", name, "--run", backup_run) for name in sorted(self._settings.databases)]
        with (
            _part(
                f"{title}; meanwhile each database is dumped, encrypted to two keys, uploaded to B2's "
                "emulator, and read back"
            ),
            self._commands.beside(*backups, quiet=True) as backed_up,
        ):
            self._pipeline("run", ETL, "--run", run)
            backed_up()
            self._pipeline("backups")

    def _prove_and_show(self, run: str) -> None:
        """Restore the backups, and meanwhile do what is about the warehouse: none needs what another does."""
        page = self._home.path / "report"
        with (
            self._commands.beside(("run", "drill")) as drilled,
            self._commands.beside(("report", "--out", str(page)), quiet=True) as reported,
        ):
            with _part("The analysts push a mart, then a broken one: the night uses the last good version"):
                push.show(self._home, run, self._commands.called, lambda line: _print_line(f"   {line}"))
                self._take_back()
            with _part(
                "Every declared table, row for row: checksums over all columns, source against warehouse"
            ):
                self._compare()
            with _part("The dashboards as one page, and what Metabase would get: each card is tried"):
                self._plan_dashboards()
                reported()
                _print_line(f"   the page: {page / 'index.html'}")
            with _part(
                "The drill, in parallel: each backup restored into the third server, compared, timed, "
                "damaged, and removed"
            ):
                drilled()

    def _take_back(self) -> None:
        """Remove the mart that was pushed: the sandbox's own checkout, by which people go on, has none."""
        mart = sql.Identifier(chains.MART.schema, push.MART)
        with (
            access.opened(self._settings) as databases,
            databases.warehouse(autocommit=True) as warehouse,
        ):
            postgres.rows(warehouse, sql.SQL("DROP VIEW {}").format(mart))
        _print_line(
            f"   {chains.MART.schema}.{push.MART} is removed again: its branch was for this demo only"
        )

    def _done(self, run: str) -> bool:
        with (
            access.opened(self._settings) as databases,
            databases.warehouse(autocommit=True) as warehouse,
        ):
            latest = runs.find(warehouse, ETL, run)
        return latest is not None and latest.actual_state == State.DONE

    def _day_2(self) -> None:
        stopping = threading.Event()
        with lifecycle.Stopping(stopping):
            changed = sources.day_2(self._home, stopping)
        _print_line(f"   {', '.join(changed)}" if changed else "   already applied; nothing to do")

    def _compare(self) -> None:
        compared = comparison.compare(self._settings)
        if wrong := [str(one) for one in compared if not one.equal]:
            raise CheckError("\n".join(wrong))
        rows = sum(one.source.rows for one in compared if one.source)
        _print_line(f"   all {len(compared)} tables, {rows:,} rows, equal their sources")

    def _plan_dashboards(self) -> None:
        """Try each card on the warehouse, as `pipeline dashboards plan` does, and say what there would be."""
        configured = self._settings
        repository = catalog.read_repository(configured.require_analysts().checkout)
        declared = list(repository.dashboards.values())
        planned = dashboards.plan(configured, repository.catalog, declared)
        if planned.problems:
            raise CheckError("\n".join(planned.problems))
        _print_line(
            f"   'pipeline dashboards plan' would create {len(planned.shown)} objects in an empty Metabase"
        )

    @property
    def _settings(self) -> settings.Settings:
        return settings.read([self._home.settings_file])

    def _print_places(self) -> None:
        luigid = f"http://{ADDRESS}:{self._home.state.ports['luigid']}"
        _print_line("\nWhere to look")
        for what, where in {
            "the chains": f"{luigid}/static/visualiser/index.html",
            "  log in": "as operator; its password: bin/sandbox password operator",
            "the dashboards": f"{self._home.path / 'report' / 'index.html'}",
            "the warehouse": "bin/sandbox psql warehouse",
            "a source": "bin/sandbox psql hr    (or records, service_desk)",
            "the last night": 'eval "$(bin/sandbox env)", then: pipeline status',
            "the backups": "pipeline backups; pipeline restore hr --into-new hr_restored",
            "Luigi's logs": f"{self._home.logs}/etl.log, backup.log, drill.log",
            "again": "change something in a source, then: bin/demo",
            "to stop": "bin/demo --down",
        }.items():
            _print_line(f"   {what:<15} {where}")


if __name__ == "__main__":
    sys.exit(main())
