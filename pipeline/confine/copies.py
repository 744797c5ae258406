"""Copies: what of a folder is there inside: its plain files, neither hidden nor too many.

Nothing but Python's own library is imported here, for each import is seen by what follows.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

MOST_BYTES, MOST_FILES = 64 * 1024 * 1024, 5000
# In memory each file takes whole pages.
PAGE_BYTES = 4096


def complaint(source: Path) -> str:
    """Return why a folder cannot be copied: nothing if it can."""
    files, size = 0, 0
    for _, here, names in _walk(source):
        files += 1 + len(names)
        for name in names:
            if not os.access(here / name, os.R_OK):
                return f"{here / name}: may not be read; check its owner and permissions"
            size += -(-(here / name).stat().st_size // PAGE_BYTES) * PAGE_BYTES
        if files > MOST_FILES:
            return f"{source}: has more than {MOST_FILES:,} files and folders; move other files elsewhere"
        if size > MOST_BYTES:
            most = MOST_BYTES // 1024**2
            return f"{source}: has more than {most} MiB in its files; move other files elsewhere"
    return ""


def copy(source: Path, target: Path) -> None:
    """Copy them for everybody to read: who owns them is not who reads them there."""
    for inner, here, names in _walk(source):
        into = target / inner
        into.mkdir(parents=True, exist_ok=True)
        for name in names:
            shutil.copyfile(here / name, into / name, follow_symlinks=False)
            (into / name).chmod(0o444)


def _walk(source: Path) -> Iterator[tuple[Path, Path, list[str]]]:
    """Yield each folder, by its place below `source` and by its path, with the names of its plain files."""
    for folder, folders, names in os.walk(source):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__pycache__"]
        here = Path(folder)
        plain = [name for name in names if (here / name).is_file() and not (here / name).is_symlink()]
        yield here.relative_to(source), here, plain
