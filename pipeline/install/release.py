"""The release on a machine: one folder for each, and a link to the one that counts."""

import os
import re
import sys
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.install.layout import Layout
from pipeline.install.machine import Machine

WRAPPER = """\
#!/bin/sh
# Made by bin/install: `pipeline`, by the settings of this machine.
export LUIGI_CONFIG_PATH="${{LUIGI_CONFIG_PATH:-{settings}}}" PEX_ROOT="${{PEX_ROOT:-{state}/release}}"
exec {python} {file} "$@"
"""
PYTHON = "/usr/bin/python3"


def put(machine: Machine, layout: Layout, file: Path) -> bool:
    """Put the release there and let it count. Return whether another one did before.

    Raise UsageError if the file is none, StepError if it does not run as the pipeline's user.
    """
    if not file.is_file() or not (named := re.fullmatch(r"pipeline-([\w.-]+)\.pex", file.resolve().name)):
        raise UsageError(
            f"{file}: is not a release file",
            hint="make one with bin/release, or name one with --release (pipeline-....pex)",
        )
    folder = layout.releases / named[1]
    for path in (layout.opt, layout.releases, folder):
        machine.folder(path, private=False)
    kept = folder / file.resolve().name
    machine.file(kept, file.read_bytes(), mode=0o755)
    machine.file(folder / "pipeline-cron", _cron().read_bytes(), mode=0o755)
    wrapper = WRAPPER.format(settings=layout.settings, state=layout.state, python=_python(), file=kept)
    machine.file(folder / "pipeline", wrapper.encode(), mode=0o755)
    # It unpacks itself when it is first run: now, and not when the night begins.
    machine.as_user(layout.state, folder / "pipeline", "--version")
    return machine.link(layout.bin, Path("releases") / folder.name)


def _cron() -> Path:
    """Return the wrapper for cron, which is installed beside this Python."""
    return Path(sys.prefix) / "bin" / "pipeline-cron"


def _python() -> str:
    """Return the Python that runs us: as the system calls it, where that is the same."""
    ours = os.path.realpath(sys.executable)
    return PYTHON if os.path.realpath(PYTHON) == ours else ours
