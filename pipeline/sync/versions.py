"""Versions: each commit in a folder of its own, the checkout a link to the one that counts.

A version stays as long as somebody goes by it, however many are newer: who does holds its lock.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.system import atomic, beside, file_lock

# The folder whose declarations a run goes by, for the processes that it starts.
CATALOG = "PIPELINE_CATALOG"
LOCK = ".in-use"
# They lie beside the checkout: analysts.versions.
VERSIONS = "versions"
# What one is called, in front of its commit, from the moment on at which it is removed.
REMOVED = ".removed-"


def folder(checkout: Path) -> Path:
    """Return where this process reads what is declared: what its run began with, or the checkout."""
    return Path(os.environ.get(CATALOG) or checkout)


@contextlib.contextmanager
def held(checkout: Path) -> Iterator[Path]:
    """Give the body the version that counts now, which stays as it is, and there, until its end.

    What the body starts goes by it as well. A checkout that is not a link is used as it lies there.
    """
    with contextlib.ExitStack() as stack:
        version = checkout
        if checkout.is_symlink():
            version = _locked(checkout, stack)
        before = os.environ.get(CATALOG)
        os.environ[CATALOG] = str(version)
        try:
            yield version
        finally:
            if before is None:
                del os.environ[CATALOG]
            else:
                os.environ[CATALOG] = before


def _locked(checkout: Path, stack: contextlib.ExitStack) -> Path:
    """Lock the version to which the checkout links; the link may change just then."""
    while True:
        version = checkout.resolve()
        try:
            descriptor = os.open(version / LOCK, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            if version != checkout.resolve():
                continue
            raise UsageError(
                f"{checkout}: links to {version}, which is not a version",
                hint="type 'pipeline sync'",
            ) from None
        file_lock.share(descriptor)
        if version == checkout.resolve():
            stack.callback(os.close, descriptor)
            return version
        os.close(descriptor)


def switch(checkout: Path, version: Path) -> None:
    """Let the checkout be this version, at once."""
    if checkout.exists() and not checkout.is_symlink():
        raise UsageError(
            f"{checkout}: is a folder, and with [analysts] repository it must be created by 'pipeline sync'",
            hint="move it away",
        )
    new = checkout.with_name(f".{checkout.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(version)
    new.replace(checkout)
    # The version before may be removed now.
    atomic.settle(checkout.parent)


def remove_unused(checkout: Path) -> list[str]:
    """Remove the versions by which nobody goes, and return their names."""
    current, removed = checkout.resolve(), []
    place = beside.place(checkout, VERSIONS)
    # Of one who was killed.
    for half in place.glob(f"{REMOVED}*"):
        shutil.rmtree(half)
    for version in list(place.iterdir()):
        if version == current or version.is_symlink() or not (version / LOCK).exists():
            continue
        descriptor = os.open(version / LOCK, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if file_lock.try_take(descriptor):
                # At once no version any more: half of one would be taken for a whole one if analysts went
                # back to it.
                shutil.rmtree(version.rename(place / f"{REMOVED}{version.name}"))
                removed.append(version.name)
        finally:
            os.close(descriptor)
    return removed
