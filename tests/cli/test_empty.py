"""An empty word is none: Nomad passes each meta on, and one that nobody filled in as an empty one."""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import cli
from tests.support.night import Night, next_run

SHOP = "CREATE TABLE item (id int PRIMARY KEY); INSERT INTO item VALUES (1);"
DECLARATION = "source: shop\ntables: {item: {}}\n"
# What is needed beside the word that may be left out.
NEEDED = {"MART": "enrolment", "DATABASE": "hr", "SOURCE": "hr", "--into": "postgresql://r@h:1/n"}


def _commands(parser: argparse.ArgumentParser, *words: str) -> Iterator[tuple[list[str], argparse.Action]]:
    """Yield each argument of each command that takes one value and may be left out."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                yield from _commands(sub, *words, name)
        elif action.nargs in (None, "?") and not action.required:
            yield [*words, *_needed(parser, action)], action


def _needed(parser: argparse.ArgumentParser, action: argparse.Action) -> list[str]:
    words = [NEEDED[str(one.metavar)] for one in parser._actions if not one.option_strings and one.required]
    for group in parser._mutually_exclusive_groups:
        if group.required:
            other = next(one for one in group._group_actions if one is not action)
            words += [other.option_strings[0], "postgresql://r@h:1/n"]
    return words


OPTIONAL = [(words, action.option_strings[:1]) for words, action in _commands(cli._parser())]


@pytest.mark.parametrize(("words", "option"), OPTIONAL, ids=lambda words: "_".join(words) or "name")
def test_an_empty_argument_of_a_command_is_as_one_that_was_not_given(
    words: list[str], option: list[str]
) -> None:
    parser = cli._parser()
    assert vars(parser.parse_args([*words, *option, ""])) == vars(parser.parse_args(words))
    if option:
        assert vars(parser.parse_args([*words, f"{option[0]}="])) == vars(parser.parse_args(words))


def test_an_empty_argument_that_is_needed_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["run", "backup", ""], ["restore", "", "--into", "x"], ["restore", "hr", "--into", ""]):
        with pytest.raises(SystemExit) as ended:
            cli._parser().parse_args(words)
        assert ended.value.code == 2
    told = re.findall(r"error: (.*)", capsys.readouterr().err)
    assert told == [
        *["argument DATABASE: is empty; write a value"] * 2,
        "one of the arguments --into --into-new is required",
    ]


@pytest.mark.endurance
def test_an_empty_name_is_none_to_a_rerun(night: Night) -> None:
    night.platform.source("shop", SHOP, DECLARATION)
    run = next_run()
    assert night.etl(run, "--source", "", "--table", "").code == 0
    ended = night.run("rerun", "--run", run, "--from", "", "")
    assert (ended.code, ended.errors) == (0, [])
    assert f"run {run} is complete already; nothing to do" in ended.out


@pytest.mark.endurance
def test_a_credential_that_others_can_read_is_warned_of_once_and_not_by_each_process(night: Night) -> None:
    night.platform.source("shop", SHOP, DECLARATION)
    path = night.platform.settings_file
    kept = re.search(r"^credential_file = (.*)$", path.read_text(), re.MULTILINE)
    assert kept
    readable = path.with_name("readable")
    readable.write_text(Path(kept[1]).read_text())
    readable.chmod(0o644)
    path.write_text(path.read_text().replace(kept[0], f"credential_file = {readable}"))
    ended = night.etl(next_run())
    assert ended.code == 0, ended.err
    assert ended.err.count(f"chmod 600 {readable}") == 1, ended.err
