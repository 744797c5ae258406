"""Put before a command as its sitecustomize.py: it stands still at a place in our code until it may go on.

The place is in the environment: STAND_AT is `module:qualified.name:before` (or `:after`) of a function, and
STAND_IN the folder where `standing` tells the number of the process that came there first. It goes on once
there is a file `go`, and whoever comes there later does not stand. Nothing else is changed: it is the real
process, with what it has open and locked at that moment. It imports nothing of ours.
"""

import functools
import importlib.abc
import importlib.util
import os
import sys
import time
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

LOOK_SECONDS = 0.005
# Whoever let it stand is gone by then.
LONGEST_SECONDS = 300


class Finder(importlib.abc.MetaPathFinder):
    """Lets the one function stand, once its module has been imported."""

    def __init__(self, place: str, folder: str) -> None:
        self._module, self._name, self._when = place.split(":")
        self._folder = Path(folder)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find the module as anybody else does, and note that it is being imported."""
        del path, target
        if fullname != self._module:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        assert spec is not None
        assert spec.loader is not None
        loader: Any = spec.loader
        run = loader.exec_module

        def run_and_wrap(module: ModuleType) -> None:
            run(module)
            self._wrap(module)

        loader.exec_module = run_and_wrap
        return spec

    def _wrap(self, module: ModuleType) -> None:
        *owners, name = self._name.split(".")
        owner = functools.reduce(getattr, owners, module)
        inner = getattr(owner, name)

        @functools.wraps(inner)
        def standing(*arguments: Any, **named: Any) -> Any:
            if self._when == "before":
                self._stand()
            found = inner(*arguments, **named)
            if self._when == "after":
                self._stand()
            return found

        setattr(owner, name, standing)

    def _stand(self) -> None:
        own = self._folder / f"{os.getpid()}.pid"
        own.write_text(str(os.getpid()))
        try:
            (self._folder / "standing").hardlink_to(own)
        except (FileExistsError, FileNotFoundError):
            return
        deadline = time.monotonic() + LONGEST_SECONDS
        # If the folder is gone, nobody is there any more who would say so.
        while self._waits() and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)

    def _waits(self) -> bool:
        return (self._folder / "standing").exists() and not (self._folder / "go").exists()


if "STAND_AT" in os.environ:
    sys.meta_path.insert(0, Finder(os.environ["STAND_AT"], os.environ["STAND_IN"]))
