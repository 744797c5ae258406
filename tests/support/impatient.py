"""Put before a command as its sitecustomize.py: what is tried again is given up after a few seconds.

It is tried again by the same code, and ends as it would have ended: only nobody waits for minutes until then.
How many seconds is in the environment; where a policy has fewer, those hold.
"""

import dataclasses
import functools
import importlib.abc
import importlib.util
import os
import shutil
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

GIVE_UP = "GIVE_UP_AFTER_SECONDS"
# Where a server will not come back, what it was asked is tried again for so long.
SECONDS = 3.0
MODULE = "pipeline.retry"


def environment(folder: Path, seconds: float = SECONDS) -> dict[str, str]:
    """Return what makes a command impatient, with all that it starts; `folder` is to be its alone."""
    folder.mkdir()
    shutil.copy(__file__, folder / "sitecustomize.py")
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    return {"PYTHONPATH": path, GIVE_UP: str(seconds)}


def shorten(retry: ModuleType) -> None:
    """Let whatever is tried from now on be given up after the seconds in the environment, at the latest."""
    most = float(os.environ[GIVE_UP])
    begin = retry.Attempts.__init__

    @functools.wraps(begin)
    def begin_impatiently(self: Any, policy: Any, *arguments: Any, **named: Any) -> None:
        seconds = min(policy.give_up_after_seconds, most)
        begin(self, dataclasses.replace(policy, give_up_after_seconds=seconds), *arguments, **named)

    retry.Attempts.__init__ = begin_impatiently


class Finder(importlib.abc.MetaPathFinder):
    """Does so as soon as the module has been imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find the module as anybody else does, and note that it is being imported."""
        del path, target
        if fullname != MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        assert spec is not None
        loader: Any = spec.loader
        run = loader.exec_module

        def run_and_shorten(module: ModuleType) -> None:
            run(module)
            shorten(module)

        loader.exec_module = run_and_shorten
        return spec


if __name__ == "sitecustomize" and GIVE_UP in os.environ:
    sys.meta_path.insert(0, Finder())
