"""`pipeline plan`: show what a load would do now, and why. Reads sources and ledger, and changes nothing."""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from psycopg2 import sql

from pipeline import access, catalog, ledger, mask, postgres, settings
from pipeline.access import Access
from pipeline.catalog import Catalog, Mart, Source, Table
from pipeline.catalog.as_written import ALL
from pipeline.cli import loads, terminal
from pipeline.cli.analysts import annotations, loaded
from pipeline.cli.analysts.loaded import Seen
from pipeline.errors import CheckError, PipelineError, StepError, UsageError
from pipeline.loading import listing, plan
from pipeline.loading.extracted import Mode
from pipeline.loading.plan import Plan
from pipeline.loading.shapes import filtering
from pipeline.loading.source import continuity
from pipeline.postgres import Connection
from pipeline.settings import Settings
from pipeline.system import options
from pipeline.warehouse import staging

COMMANDS = {"plan": "show what a load would do now"}


@dataclass
class Output:
    """What a plan says, gathered for machines, or printed for people as it is found."""

    form: str
    # Where each table and mart is declared.
    places: Mapping[str, str]
    tables: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    failing: list[str] = field(default_factory=list)

    def print_text(self, text: str) -> None:
        """Print something, where people read it."""
        if self.form == annotations.TEXT:
            terminal.print_text(text)

    def problem(self, name: str, what: str) -> None:
        """Note what keeps a table from being loaded, or fails."""
        self.problems.append(self._placed(name, what))

    def warning(self, name: str, what: str) -> None:
        """Note what somebody should know of a table, and holds nothing back."""
        self.warnings.append(self._placed(name, what))

    def _placed(self, name: str, what: str) -> str:
        return f"{self.places[name]}: {what}" if name in self.places else what

    def end(self) -> None:
        """Print what was gathered. Raise CheckError if something would be held back, or fails."""
        if self.form != annotations.TEXT:
            annotations.print_problems(self.problems, self.form, self.warnings, {"tables": self.tables})
        lines = []
        if self.held:
            lines.append(
                f"{terminal.counted(len(self.held), 'table')} would be held back: {', '.join(self.held)}"
            )
        if self.failing:
            lines.append(f"checks do not hold for the loaded rows: {', '.join(self.failing)}")
        if lines:
            raise CheckError("; ".join(lines))


def add_commands(commands: Any) -> None:
    """Add `plan` to the command line."""
    parser = commands.add_parser(
        "plan",
        help=COMMANDS["plan"],
        description="Show what a load would do now, table by table: how much it would read and why, the "
        "changes of the source's shape and their actions, and the checks that would run. Changes nothing.",
        epilog="exit codes: 0 every table would load, as far as its shape shows; 4 one would be held back, "
        "or with --check one does not hold; 2 settings; 5 something is out of reach",
    )
    parser.add_argument("source", metavar="SOURCE", nargs="?", help="only this source")
    parser.add_argument(
        "--table", action=options.Each, default=[], help="only this table (with SOURCE); may be repeated"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="test the loaded rows against the declared rules and checks instead, and show some of the rows "
        "that fail; nothing is read from a source. Without SOURCE, marts too",
    )
    annotations.add_argument(parser)
    parser.set_defaults(command=show_plan)


def show_plan(arguments: argparse.Namespace) -> int:
    """Print what a load would do. Raise CheckError if a table would be held back."""
    configured = settings.read()
    declared = catalog.read(configured.require_analysts().checkout)
    if arguments.table and not arguments.source:
        raise UsageError("--table needs a source before it; type 'pipeline plan SOURCE --table TABLE'")
    chosen = [declared.source(arguments.source)] if arguments.source else list(declared.sources.values())
    output = Output(arguments.format, declared.places)
    with access.opened(configured) as databases, databases.warehouse(autocommit=True) as warehouse:
        ledger.require_migrated(warehouse)
        if arguments.source:
            configured.source(arguments.source)
        elif not arguments.check:
            chosen = [source for source in chosen if _is_known(configured, source, output)]
        if arguments.check:
            known = listing.known_to(warehouse, declared)
            chosen = [known.source(source.name) for source in chosen]
        else:
            chosen = [_with_tables(databases, warehouse, declared, source, output) for source in chosen]
        picked = {
            source.name: [source.table(name) for name in dict.fromkeys(arguments.table) or source.tables]
            for source in chosen
        }
        if arguments.check:
            marts = [] if arguments.source else list(declared.marts.values())
            tables = [table for each in picked.values() for table in each]
            _check(databases, warehouse, tables, marts, output)
        else:
            for source in chosen:
                _show_source(databases, warehouse, source, picked[source.name], output)
    output.end()
    return 0


def _is_known(configured: Settings, source: Source, output: Output) -> bool:
    """Whether luigi.cfg has a source; tell that its tables would be held back where it has not."""
    try:
        configured.source(source.name)
    except UsageError as error:
        output.print_text(str(error))
        output.problem(f"{source.name}.{next(iter(source.tables), ALL)}", str(error))
        output.held += [f"{source.name}.{name}" for name in source.tables] or [source.name]
        return False
    return True


def _with_tables(
    databases: Access, warehouse: Connection, declared: Catalog, source: Source, output: Output
) -> Source:
    """Return a source with the tables that it has now, and tell what is guessed of those that `*` brings."""
    if source.everything is None:
        return source
    with databases.source(source.name) as theirs:
        expanded, left = listing.now(warehouse, theirs, declared, source)
    new = sorted(table.name for table in expanded.tables.values() if table.by_wildcard)
    output.print_text(
        f'{source.name}: "*" includes {terminal.counted(len(new), "table")}: {", ".join(new) or "none"}'
    )
    for masked in sorted(listing.guessed(expanded)):
        output.print_text(f"  masked, because it looks personal: {masked}")
    for one in left:
        output.print_text(f"  not loaded: {one.name}: {one.why}")
        output.warning(f"{source.name}.{ALL}", f"{one.name}: {one.why}")
    if not expanded.tables:
        output.problem(f"{source.name}.{ALL}", f'{source.name}: "*" matches no table that its role may read')
        output.held.append(source.name)
    return expanded


def _check(
    databases: Access, warehouse: Connection, tables: Sequence[Table], marts: Sequence[Mart], output: Output
) -> None:
    """Hold what is loaded to what is declared."""
    with databases.analyst() as theirs:
        for table in tables:
            name = f"{table.source}.{table.name}"
            _checked(name, output, partial(loaded.of_table, warehouse, theirs, table))
        for mart in marts:
            name = f"mart.{mart.name}"
            _checked(name, output, partial(loaded.of_mart, warehouse, theirs, mart))


def _checked(name: str, output: Output, check: Callable[[], list[Seen] | None]) -> None:
    try:
        seen_checks = check()
    except StepError as error:
        output.print_text(str(error))
        output.problem(name, str(error))
        output.failing.append(name)
        output.tables.append({"name": name, "loaded": True, "error": str(error), "checks": []})
        return
    if seen_checks is None:
        output.print_text(f"{name}: is not loaded yet")
        output.warning(name, f"{name}: is not loaded yet, so no check was tried")
        output.tables.append({"name": name, "loaded": False, "error": None, "checks": []})
        return
    wrong = [seen for seen in seen_checks if not seen.result.passed]
    output.print_text(
        f"{name}: {terminal.counted(len(seen_checks), 'check')}, {len(wrong) or 'none'} failing"
    )
    for seen in wrong:
        output.print_text(f"  {seen.result.level}: {seen}")
        if seen.fails:
            output.problem(name, f"{name}: {seen}")
        else:
            output.warning(name, f"{name}: {seen}")
    if any(seen.fails for seen in wrong):
        output.failing.append(name)
    checks = [
        {
            "name": seen.result.name,
            "level": seen.result.level,
            "passed": seen.result.passed,
            "observed": seen.result.observed,
            "examples": seen.examples,
        }
        for seen in seen_checks
    ]
    output.tables.append({"name": name, "loaded": True, "error": None, "checks": checks})


def _show_source(
    databases: Access, warehouse: Connection, source: Source, tables: Sequence[Table], output: Output
) -> None:
    """Tell the plans of one source, all at one moment of it."""
    with databases.source(source.name) as connection:

        def unlock() -> str:
            return mask.unlock(connection, databases.mask_key())

        taken = continuity.take(warehouse, connection, source.name, remember=False)
        for one in taken.held_back:
            warning = f"{source.name}: {one}, has not ended; {loads.READ_AGAIN}"
            output.print_text(warning)
            output.warning(source.name, warning)
        for table in tables:
            name = f"{table.source}.{table.name}"
            postgres.rows(connection, "SAVEPOINT table_plan")
            try:
                with postgres.explained(name):
                    planned = plan.make(warehouse, connection, table, taken, unlock)
                    _show_table(connection, table, planned, output)
            except PipelineError as error:
                postgres.rows(connection, "ROLLBACK TO SAVEPOINT table_plan")
                output.print_text(str(error))
                output.problem(name, str(error))
                output.held.append(name)


def _show_table(source: Connection, table: Table, planned: Plan, output: Output) -> None:
    name = f"{table.source}.{table.name}"
    total = staging.count(source, planned.relation, filtering.condition(table))
    rows = total
    if planned.mode == Mode.INCREMENT:
        query = sql.SQL("SELECT count(*) FROM {}").format(planned.relation) + planned.condition()
        rows = postgres.value(source, query)
    output.print_text(f"{name}: {planned.mode}, {rows:,} of {total:,} rows to read ({planned.reason})")
    for change in planned.changes:
        output.print_text(f"  drift: {change.describe(table)} -> {change.action}")
        if change.blocks:
            output.problem(name, f"{name}: {change.describe(table)}")
    for check in _checks(planned):
        output.print_text(f"  check: {check}")
    if planned.mode == Mode.BLOCKED:
        output.held.append(name)
    changes = [{"what": change.describe(table), "action": change.action} for change in planned.changes]
    output.tables.append(
        {
            "name": name,
            "mode": planned.mode,
            "rows": rows,
            "of": total,
            "reason": planned.reason,
            "drift": changes,
        }
    )


def _checks(planned: Plan) -> Iterator[str]:
    table = planned.table
    if planned.key:
        yield f"key ({', '.join(planned.key)}) is unique and not null"
    if planned.mode != Mode.FIRST:
        yield f"deletes at most {table.max_deleted:.0%}"
    for name, column in table.columns.items():
        for rule in ("null_rate", "accepted", "range"):
            declared = getattr(column, rule)
            if declared is not None:
                yield f"{name} {rule} ({declared.level})"
    for check in table.checks:
        yield f"{check.kind} ({check.level})"
