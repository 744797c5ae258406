"""Files of the work folder: each is there whole under its name, or not at all."""

import json
import os
from pathlib import Path
from typing import Any

# What is being written is called so; it is complete only under its own name.
PARTIAL = ".partial"


def write(path: Path, text: str, *, durable: bool = True) -> None:
    """Write a file that is private; `durable`, it survives a crash of the machine as well."""
    partial = path.with_name(path.name + PARTIAL)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    partial.replace(path)
    if durable:
        settle(path.parent)


def settle(folder: Path) -> None:
    """Let the names in a folder survive a crash of the machine."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: Path) -> dict[str, Any]:
    """Return what a file has, or nothing if there is none, or none that was written so."""
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return found
