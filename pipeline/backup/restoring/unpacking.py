"""A dump into a database: all of it or one table, in sections, without what our login may not restore."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.backup.database import contents
from pipeline.backup.restoring import acl, roles, target, toc
from pipeline.backup.restoring.pg_restore import Restorer
from pipeline.backup.restoring.repair import Repair
from pipeline.backup.restoring.target import Target
from pipeline.backup.restoring.toc import Entry
from pipeline.backup.store.manifest import Contents
from pipeline.backup.tools import Tool
from pipeline.errors import StepError
from pipeline.postgres import Connection

DEFINITIONS = ("--section=pre-data",)
ROWS_AND_THE_REST = ("--section=data", "--section=post-data")
CLEAN = ("--clean", "--if-exists")


@dataclass(frozen=True)
class Unpacked:
    """What is to be said of a restored dump: `remarks`, and what was `left_out` because it failed."""

    remarks: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unpacking:
    """A dump that is to be restored; `wanted` is what is in it, `table` is schema.name, None for all."""

    tool: Tool
    dump: Path
    table: str | None
    clean: bool
    jobs: int
    wanted: Contents

    def run(self, place: Target, report: Callable[[float, str], None]) -> Unpacked:
        """Restore it. Raise StepError if it fails as a whole, and not only in some of its objects."""
        with place.opened() as connection:
            entries, remarks = self._entries(connection)
            rest, granting, afterwards = acl.in_sections(entries)
            privileges = None
            if not roles.is_superuser(connection):
                privileges = acl.script(self.tool, self.dump, granting, self.wanted.database.encoding)
        restorer = Restorer(self.tool, self.dump, place, self.wanted.database.size_bytes, report)
        # Where one table comes into a database that is in use, its functions stay as they are.
        repair = Repair(restorer, self.wanted, lends=self.table is None)
        self._restore(restorer, repair, rest if privileges else entries)
        if privileges:
            with place.opened() as connection:
                acl.grant(connection, privileges)
            self._go_on(restorer, repair, afterwards)
        return Unpacked((*remarks, *repair.remarks), tuple(repair.left_out))

    def _restore(self, restorer: Restorer, repair: Repair, entries: list[Entry]) -> None:
        if self.clean:
            # Into what is there already: to go on after an error would mix old and new.
            restorer.run(entries, jobs=self.jobs, options=CLEAN)
            return
        rest, granting, afterwards = acl.in_sections(entries)
        self._define(restorer, repair, rest)
        self._go_on(restorer, repair, rest, ROWS_AND_THE_REST)
        self._go_on(restorer, repair, [*granting, *afterwards])

    def _define(self, restorer: Restorer, repair: Repair, entries: list[Entry]) -> None:
        """Restore what nothing can do without: what fails of it is told within seconds, and not after hours.

        A definition may be computed with, as a generated column is, and so fail as rows do.
        """
        complaints = restorer.run(entries, jobs=1, options=DEFINITIONS, goes_on=True)
        failed = repair.define(entries, complaints) if complaints.failed else []
        if failed:
            more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
            raise StepError(f"{restorer.place.name}: pg_restore: {failed[0]}{more}", hint=self._way_out)

    @property
    def _way_out(self) -> str:
        if self.table:
            return (
                "it may need objects that were not restored with it: restore the whole backup, without "
                "--table, and copy from there"
            )
        return "to restore without it, see 'Without a definition that fails' in docs/restore.md"

    def _go_on(
        self, restorer: Restorer, repair: Repair, entries: list[Entry], options: tuple[str, ...] = ()
    ) -> None:
        if not entries:
            return
        complaints = restorer.run(entries, jobs=self.jobs, options=options, goes_on=True)
        if complaints.failed:
            repair.fix(entries, complaints)

    def _entries(self, connection: Connection) -> tuple[list[Entry], list[str]]:
        entries = toc.read(self.tool, self.dump, self.wanted.database.encoding)
        if self.table:
            there = frozenset() if self.clean else target.names_in(connection)
            entries = toc.of_table(entries, self.table, there)
        foreign = () if roles.is_superuser(connection) else roles.foreign(connection)
        extensions = [one.name for one in contents.extensions(connection)]
        return toc.without_foreign(entries, foreign, extensions)
