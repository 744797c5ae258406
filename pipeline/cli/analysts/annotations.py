"""Annotations: problems with file and line in the form that a machine reads: GitHub's, or JSON."""

import argparse
import json
import re
from collections.abc import Mapping, Sequence

from pipeline.cli import terminal

NOTHING: Mapping[str, object] = {}
TEXT, GITHUB, JSON = "text", "github", "json"
_PLACE = re.compile(r"(?P<file>[^:]+):(?P<line>\d+): (?P<what>.*)", re.DOTALL)
# What would end a message of GitHub's before its end, or begin another.
_MESSAGE = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})
_PROPERTY = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A", ":": "%3A", ",": "%2C"})


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Add --format to a command that tells problems of files."""
    parser.add_argument(
        "--format",
        choices=(TEXT, GITHUB, JSON),
        default=TEXT,
        help="how problems are printed: for people, as annotations of a pull request, or as JSON (default: "
        "%(default)s)",
    )


def print_problems(
    problems: Sequence[str], form: str, warnings: Sequence[str] = (), more: Mapping[str, object] = NOTHING
) -> None:
    """Print problems, each as `sources/hr.yaml:4: what`, and warnings, in one of the forms for machines.

    `more` is what the JSON has beside them.

    >>> print_problems(["sources/hr.yaml:4: 50%: is too much"], "github", ["its tasks were not imported"])
    ::error file=sources/hr.yaml,line=4::50%25: is too much
    ::warning::its tasks were not imported
    """
    annotated = [*(("error", one) for one in problems), *(("warning", one) for one in warnings)]
    if form == JSON:
        problem = [_as_json(level, what) for level, what in annotated]
        terminal.print_text(json.dumps({**more, "problems": problem}, indent=2, default=str))
        return
    for level, what in annotated:
        terminal.print_text(_as_annotation(level, what))


def _as_json(level: str, problem: str) -> dict[str, object]:
    match = _PLACE.fullmatch(problem)
    place = {"file": match["file"], "line": int(match["line"])} if match else {"file": None, "line": None}
    return {**place, "level": level, "message": match["what"] if match else problem}


def _as_annotation(level: str, problem: str) -> str:
    match = _PLACE.fullmatch(problem)
    if not match:
        return f"::{level}::{problem.translate(_MESSAGE)}"
    file, what = match["file"].translate(_PROPERTY), match["what"].translate(_MESSAGE)
    return f"::{level} file={file},line={match['line']}::{what}"
