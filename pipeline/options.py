"""The command line: an empty word is none, for a clock passes on each that it has, given or not."""

import argparse
from typing import Any


class Parser(argparse.ArgumentParser):
    """A parser to which an empty value of an option, or of a word that may be left out, is none.

    Nomad gives a meta that nobody filled in as an empty one: `pipeline rerun --run "$RUN" "$NAME"`.
    """

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        if arg_strings != [""] or action.nargs not in (None, argparse.OPTIONAL):
            return super()._get_values(action, arg_strings)
        if action.required:
            raise argparse.ArgumentError(action, "is empty; write it")
        default = action.default
        # The very default: so argparse counts it as not given, beside what excludes it too.
        return self._get_value(action, default) if isinstance(default, str) else default
