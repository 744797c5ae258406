"""pg_restore into a database: all of a dump or one table of it, without what our login may not restore."""

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline import command, postgres
from pipeline.backup import contents, roles, target, toc
from pipeline.backup.target import Target
from pipeline.backup.tools import Tool
from pipeline.errors import PipelineError, StepError, UnreachableError
from pipeline.postgres import Connection

LOOK_SECONDS = 0.2
LOST = re.compile(r"server closed the connection|terminating connection|connection to server .* failed")


@dataclass(frozen=True)
class Unpacking:
    """A dump that is to be restored; `table` is schema.name, None for all; `size_bytes` what it will take.

    `encoding` is that of the database that was dumped.
    """

    tool: Tool
    dump: Path
    table: str | None
    clean: bool
    jobs: int
    size_bytes: int
    encoding: str

    def run(self, place: Target, tell: Callable[[float, str], None]) -> list[str]:
        """Run pg_restore to its end; return remarks on what was left out. Raise StepError if it fails."""
        with place.opened() as connection:
            entries, remarks = self._entries(connection)
        chosen = self.dump.with_suffix(".entries")
        toc.write(entries, chosen)
        arguments: list[str | Path] = [
            self.tool.path, "--exit-on-error", "--no-password", "--no-tablespaces", f"--jobs={self.jobs}",
            f"--use-list={chosen}", f"--dbname={place.database}",
            *(["--clean", "--if-exists"] if self.clean else []), self.dump,
        ]  # fmt: skip
        environment = command.clean_environment({**_passfile(), **place.environment})
        with (
            place.opened() as connection,
            Path(os.devnull).open("wb") as nowhere,
            command.Child(arguments, environment=environment, output=nowhere.fileno()) as child,
        ):
            while child.running:
                self._tell(connection, tell)
                time.sleep(LOOK_SECONDS)
            try:
                child.finish()
            except StepError as error:
                raise _explained(error, place) from None
        return remarks

    def _entries(self, connection: Connection) -> tuple[list[toc.Entry], list[str]]:
        entries = toc.read(self.tool, self.dump, self.encoding)
        if self.table:
            there = frozenset() if self.clean else target.names_in(connection)
            entries = toc.of_table(entries, self.table, there)
        foreign = () if roles.is_superuser(connection) else roles.foreign(connection)
        extensions = [one.name for one in contents.extensions(connection)]
        return toc.without_foreign(entries, foreign, extensions)

    def _tell(self, connection: Connection, tell: Callable[[float, str], None]) -> None:
        whole = max(self.size_bytes, 1)
        size = postgres.value(connection, "SELECT pg_database_size(current_database())")
        tell(min(size / whole, 0.99), f"{size / 1e6:,.0f} of about {whole / 1e6:,.0f} MB")


def _passfile() -> dict[str, str]:
    """Return where libpq was told to look for passwords: ours may have come from there."""
    return {name: os.environ[name] for name in ("PGPASSFILE",) if name in os.environ}


def _explained(error: StepError, place: Target) -> PipelineError:
    if LOST.search(str(error)):
        return UnreachableError(f"{place.name}: the connection was lost: {error}")
    return StepError(f"{place.name}: {error}")
