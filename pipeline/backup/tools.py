"""PostgreSQL's own programs: which ones are there, how new they are, and what they can do."""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import StepError, UsageError
from pipeline.system import command

GZIP, ZSTD = "gzip:1", "zstd:1"
# Since then, and if it was built with it.
FIRST_WITH_ZSTD = 16
PROBE_SECONDS = 30


@dataclass(frozen=True)
class Tool:
    """A program. `version` is as it says, such as 17.10."""

    path: Path
    version: str

    @property
    def major(self) -> int:
        """Return the major version, such as 17."""
        return major(self.version)


def major(version: str) -> int:
    """Return the major version of a program or a server.

    >>> major("17.10"), major("18beta1")
    (17, 18)
    """
    match = re.match(r"\d+", version)
    return int(match[0]) if match else 0


def newest(name: str, folder: Path | None) -> Tool:
    """Return the newest program of that name in `folder`, or on the PATH if that is None.

    Raise UsageError if there is none.
    """
    folders = [folder] if folder else [Path(part) for part in os.get_exec_path() if part]
    paths = {path: None for one in folders if (path := shutil.which(name, path=str(one)))}
    installed = [tool for path in paths if (tool := _tool(Path(path)))]
    if not installed:
        where = f"in {folder}" if folder else "on the PATH"
        raise UsageError(
            f"{name}: not found {where}",
            hint="install PostgreSQL's client, or set [backup] postgres_bin",
        )
    return max(installed, key=lambda tool: [int(part) for part in re.findall(r"\d+", tool.version)])


def _tool(path: Path) -> Tool | None:
    try:
        output = command.run([path, "--version"], timeout_seconds=PROBE_SECONDS)
    except StepError:
        return None
    version = re.search(r"\(PostgreSQL\) (\d+[\w.]*)", output)
    return Tool(path, version[1]) if version else None


def compression(pg_dump: Tool) -> str:
    """Return the fastest compression that this pg_dump has."""
    if pg_dump.major < FIRST_WITH_ZSTD:
        return GZIP
    # It says whether it has it before it connects, and there is nothing to connect to here.
    nowhere = command.clean_environment({"PGHOST": "/nonexistent", "PGDATABASE": "nothing"})
    try:
        command.run(
            [pg_dump.path, "--format=custom", f"--compress={ZSTD}", "--no-password"],
            environment=nowhere,
            timeout_seconds=PROBE_SECONDS,
        )
    except StepError as error:
        return GZIP if "compression" in str(error) else ZSTD
    return ZSTD


def compression_argument(pg_dump: Tool, chosen: str) -> str:
    """Return the argument that asks for a compression; before 16 there was only the level of gzip."""
    return f"--compress={chosen if pg_dump.major >= FIRST_WITH_ZSTD else chosen.partition(':')[2]}"
