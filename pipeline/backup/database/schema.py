"""The definitions in a dump, as one checksum: what a drill has proven once, until somebody changes them."""

import hashlib
from pathlib import Path

from pipeline import postgres
from pipeline.backup.tools import Tool
from pipeline.system import command

# Remarks, and what is another on every call.
VOLATILE = ("--", "\\restrict ", "\\unrestrict ")


def fingerprint(pg_restore: Tool, dump: Path, encoding: str) -> str:
    """Return the SHA-256 of all definitions and privileges in a dump of a database in that encoding.

    Raise StepError if the dump cannot be read.
    """
    arguments: list[str | Path] = [pg_restore.path, "--schema-only", "--file=-", dump]
    text = command.run(arguments, environment=command.clean_environment({}), codec=postgres.codec(encoding))
    lines = [line for line in text.splitlines() if not line.startswith(VOLATILE)]
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()
