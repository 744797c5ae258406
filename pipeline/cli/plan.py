"""`pipeline plan`: what a load would do now, and why. Reads sources and ledger, and changes nothing."""

import argparse
from collections.abc import Callable, Iterator
from typing import Any

from psycopg2 import sql

from pipeline import access, catalog, ledger, mask, postgres, settings
from pipeline.access import Access
from pipeline.catalog import Source, Table
from pipeline.cli import terminal
from pipeline.errors import CheckError, PipelineError, UsageError
from pipeline.loading import continuity, filtering, plan, staging
from pipeline.loading.plan import BLOCKED, INCREMENT, Plan
from pipeline.postgres import Connection
from pipeline.postgres.snapshot import Snapshot
from pipeline.system import options


def add_command(commands: Any) -> None:
    """Add `plan` to the command line."""
    parser = commands.add_parser(
        "plan",
        help="what a load would do now",
        description="What a load would do now, table by table: how much it would read and why, what has "
        "changed in the source and what that would lead to, and which checks would run. Changes nothing.",
        epilog="exit codes: 0 every table would load, as far as its shape tells; 4 one would be held back; "
        "2 settings; 5 something is out of reach",
    )
    parser.add_argument("source", metavar="SOURCE", nargs="?", help="only this source")
    parser.add_argument(
        "--table", action=options.Each, default=[], help="only this table (with SOURCE); may be given often"
    )
    parser.set_defaults(command=show_plan)


def show_plan(arguments: argparse.Namespace) -> int:
    """Print what a load would do. Raise CheckError if a table would be held back."""
    configured = settings.read()
    declared = catalog.read(configured.require_analysts().checkout)
    if arguments.table and not arguments.source:
        raise UsageError("--table needs a source before it: pipeline plan SOURCE --table TABLE")
    sources = [declared.source(arguments.source)] if arguments.source else list(declared.sources.values())
    held: list[str] = []
    with access.opened(configured) as databases, databases.warehouse(autocommit=True) as warehouse:
        ledger.require_migrated(warehouse)
        for source in sources:
            configured.source(source.name)
            names = dict.fromkeys(arguments.table) or source.tables
            tables = [source.table(name) for name in names]
            held += _show_source(databases, warehouse, source, tables)
    if held:
        counted = "1 table" if len(held) == 1 else f"{len(held)} tables"
        raise CheckError(f"{counted} would be held back: {', '.join(held)}")
    return 0


def _show_source(databases: Access, warehouse: Connection, source: Source, tables: list[Table]) -> list[str]:
    """Print the plans of one source, all at one moment of it; return the tables that would be held back."""
    held = []
    with databases.source(source.name) as connection:

        def unlock() -> str:
            return mask.unlock(connection, databases.mask_key())

        taken = continuity.take(warehouse, connection, source.name, remember=False)
        for table in tables:
            name = f"{table.source}.{table.name}"
            postgres.rows(connection, "SAVEPOINT table_plan")
            try:
                with postgres.explained(name):
                    blocked = _show_table(warehouse, connection, table, taken, unlock)
            except PipelineError as error:
                postgres.rows(connection, "ROLLBACK TO SAVEPOINT table_plan")
                terminal.say(str(error))
                blocked = True
            if blocked:
                held.append(name)
    return held


def _show_table(
    warehouse: Connection, source: Connection, table: Table, taken: Snapshot, unlock: Callable[[], str]
) -> bool:
    planned = plan.make(warehouse, source, table, taken, unlock)
    total = staging.count(source, planned.relation, filtering.condition(table))
    rows = total
    if planned.mode == INCREMENT:
        query = sql.SQL("SELECT count(*) FROM {}").format(planned.relation) + planned.condition()
        rows = postgres.value(source, query)
    terminal.say(
        f"{table.source}.{table.name}: {planned.mode}, {rows:,} of {total:,} rows to read ({planned.reason})"
    )
    for change in planned.changes:
        terminal.say(f"  drift: {change.told(table)} -> {change.action}")
    for check in _checks(planned):
        terminal.say(f"  check: {check}")
    return planned.mode == BLOCKED


def _checks(planned: Plan) -> Iterator[str]:
    table = planned.table
    if planned.key:
        yield f"key ({', '.join(planned.key)}) is unique and not null"
    if planned.mode != "first":
        yield f"deletes at most {table.max_deleted:.0%}"
    for name, column in table.columns.items():
        for rule in ("null_rate", "accepted", "range"):
            declared = getattr(column, rule)
            if declared is not None:
                yield f"{name} {rule} ({declared.level})"
    for check in table.checks:
        yield f"{check.kind} ({check.level})"
