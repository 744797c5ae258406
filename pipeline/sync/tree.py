"""Tree: writes what a commit holds into a folder, after looking at each of its names.

Written by ourselves and not by git, so that nothing in the commit can act: no link, filter, attribute, hook.
"""

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import ProblemsError
from pipeline.git import Entry, Repository

LARGEST_FILE_BYTES = 1024 * 1024
LARGEST_BYTES = 32 * 1024 * 1024
MOST_FILES = 5000
LONGEST_PATH = 200
# Of so many files is told what is wrong with each.
MOST_SHOWN = 20

REGULAR = ("100644", "100755")
LFS = b"version https://git-lfs.github.com/spec/"


def write(repository: Repository, commit: str, folder: Path, before: Path | None) -> None:
    """Write the files of a commit into an empty folder. Raise ProblemsError, naming each that may not be.

    A file that is as it was in the version `before` keeps its time.
    """
    entries = repository.entries(commit)
    problems = _problems(entries)
    if problems:
        raise ProblemsError(problems[:MOST_SHOWN])
    wrong = []
    for entry, content in zip(entries, repository.contents([one.object for one in entries]), strict=True):
        name = entry.path.decode()
        if content.startswith(LFS):
            wrong.append(f"{name}:1: is only a Git LFS pointer; commit the file itself")
        path = folder / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Not over what is there, and through no link: there are none.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        _keep_time(path, content, before / name if before else None)
    if wrong:
        raise ProblemsError(wrong[:MOST_SHOWN])


def _keep_time(path: Path, content: bytes, old: Path | None) -> None:
    if old is not None and old.is_file() and old.read_bytes() == content:
        stat = old.stat()
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def _problems(entries: Sequence[Entry]) -> list[str]:
    if len(entries) > MOST_FILES:
        return [f"it has {len(entries):,} files, the limit is {MOST_FILES:,}; remove some"]
    total = sum(entry.size or 0 for entry in entries)
    lines = [problem for entry in entries if (problem := _problem(entry))]
    if total > LARGEST_BYTES:
        lines.append(f"it has {total:,} bytes, the limit is {LARGEST_BYTES:,}; remove some files")
    return [*lines, *_collisions(entries)]


def _problem(entry: Entry) -> str | None:
    shown = ascii(entry.path.decode(errors="replace"))[1:-1]
    if entry.mode == "120000":
        return f"{shown}: is a link, and links are not followed; commit the file itself"
    if entry.kind == "commit":
        return f"{shown}: is a submodule, and submodules are not fetched; commit the files themselves"
    if entry.mode not in REGULAR:
        return f"{shown}: is not a regular file (mode {entry.mode}); commit a regular file"
    if not _is_name(entry.path):
        return f"{shown}: is not a valid name for a file here; rename it"
    if entry.size is None or entry.size > LARGEST_FILE_BYTES:
        size = "unknown" if entry.size is None else f"{entry.size:,}"
        return f"{shown}: has {size} bytes, the limit of a file is {LARGEST_FILE_BYTES:,}; remove it"
    return None


def _is_name(path: bytes) -> bool:
    """Whether a path is UTF-8, of plain letters, and stays below its folder."""
    try:
        name = path.decode()
    except UnicodeDecodeError:
        return False
    parts = name.split("/")
    leaves = any(part in ("", ".", "..") or _is_git(part) for part in parts)
    return not leaves and "\\" not in name and name.isprintable() and len(name) <= LONGEST_PATH


def _is_git(part: str) -> bool:
    """Whether some file system would take it for git's own folder."""
    plain = "".join(letter for letter in part if unicodedata.category(letter) != "Cf")
    return plain.casefold().rstrip(". ").partition(":")[0] in (".git", "git~1")


def _collisions(entries: Sequence[Entry]) -> list[str]:
    """Tell of names that some file systems take for one."""
    taken: dict[str, str] = {}
    lines = []
    for entry in entries:
        name = entry.path.decode(errors="replace")
        same = unicodedata.normalize("NFC", name).casefold()
        if taken.setdefault(same, name) != name:
            lines.append(f"{name}: differs from {taken[same]} only in upper and lower case; rename one")
    return lines
