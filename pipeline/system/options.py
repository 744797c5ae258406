"""The command line: an empty word is none, and a misspelt one is answered with the one that was meant."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from pipeline import names


class Each(argparse.Action):
    """An option that may be given often: a list of its values, in which an empty one is none."""

    def __call__(self, _parser: Any, namespace: argparse.Namespace, values: Any, _option: Any = None) -> None:
        """Add the value to those that were given before."""
        if values != self.default:
            setattr(namespace, self.dest, [*getattr(namespace, self.dest), values])


class Parser(argparse.ArgumentParser):
    """A parser to which an empty value of an option, or of a word that may be left out, is none.

    Nomad gives a meta that nobody filled in as an empty one: `pipeline rerun --run "$RUN" "$NAME"`.
    """

    # What is being parsed.
    _given: Sequence[str] = ()

    def error(self, message: str) -> NoReturn:
        """Tell what is wrong, and exit with 2; the exit knows what it was."""
        # Where no argument is wrong one is missing. One that is misspelt is missing as well, and that alone
        # would be said.
        missed = getattr(sys.exception(), "argument_name", None) is None
        misspelt = [each for each in self._given if each[:2] == "--" and not self._knows(each)]
        try:
            super().error(self._unknown(misspelt) if misspelt and missed else message)
        except SystemExit as ended:
            ended.add_note(message)
            raise

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        if action.nargs == argparse.ZERO_OR_MORE:
            arg_strings = [text for text in arg_strings if text]
        if arg_strings != [""] or action.nargs not in (None, argparse.OPTIONAL):
            return super()._get_values(action, arg_strings)
        if action.required:
            raise argparse.ArgumentError(action, "is empty; write a value")
        default = action.default
        # The very default: so argparse counts it as not given, beside what excludes it too.
        return self._get_value(action, default) if isinstance(default, str) else default

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse what is known. What is not is told here, with the usage of this very command."""
        self._given = sys.argv[1:] if args is None else args
        parsed, unknown = super().parse_known_args(self._given, namespace)
        # What is refused from now on is no argument that is missing.
        self._given = ()
        if unknown:
            self.error(self._unknown(unknown))
        return parsed, unknown

    def _knows(self, option: str) -> bool:
        return any(known.startswith(option.partition("=")[0]) for known in self._option_string_actions)

    def _unknown(self, words: Sequence[str]) -> str:
        options = list(self._option_string_actions)
        meant = [names.nearest(each.partition("=")[0], options) for each in words if each[:1] == "-"]
        advice = "".join(f"; did you mean {option}?" for option in meant[:1] if option)
        return f"unrecognized arguments: {' '.join(words)}{advice}"

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuse a value that is not a valid choice, with the one that was probably meant."""
        if action.choices is not None and value not in action.choices:
            advice = names.advice(str(value), map(str, action.choices))
            raise argparse.ArgumentError(action, f"{value!r} is not known; {advice}")
