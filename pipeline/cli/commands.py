"""The commands that there are: each declared in its own module, and found without importing that.

Most of the time of a short command is its imports, so a list of the commands must import none of them. A
module of one of the rooms below that declares some has a literal `COMMANDS`, each command with its help, and
a function `add_commands(parsers)`.
"""

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

ROOMS = ("oncall", "analysts", "runs")
DECLARED = re.compile(r"^COMMANDS = (\{.*?\})$", re.MULTILINE | re.DOTALL)


class Declared(NamedTuple):
    """Where a command is declared (module:function), and its help."""

    place: str
    help: str


def declared() -> Mapping[str, Declared]:
    """Return every command by its name, in the order of their names."""
    folder = Path(__file__).parent
    by_name = {
        name: Declared(f"{room}.{file.stem}:add_commands", text)
        for room in ROOMS
        for file in (folder / room).glob("*.py")
        if (match := DECLARED.search(file.read_text("utf-8")))
        for name, text in ast.literal_eval(match[1]).items()
    }
    return dict(sorted(by_name.items()))
