"""Libraries that stand between a program and its machine (LD_PRELOAD), made of the C files beside this."""

import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

# Gone with this process.
_folder = tempfile.TemporaryDirectory(prefix="preloaded")


@functools.cache
def _made(source: Path) -> Path | None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    made = Path(_folder.name) / source.with_suffix(".so").name
    done = subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", made, source], check=False)
    return made if done.returncode == 0 else None


def library(source: Path) -> Path:
    """Return the library of a C file, made once. Skip the test where there is no compiler."""
    found = _made(source)
    if found is None:
        pytest.skip("no C compiler here; apt-get install gcc libc6-dev")
    return found
