"""Words that are typed wrong: what was meant is asked, with the usage of the command, and exit code 2."""

import argparse
import subprocess
import sys

import pytest

from pipeline import __version__, cli
from pipeline.cli import main
from pipeline.system import options
from tests.support.archive import Archive
from tests.support.restores import Restores


@pytest.mark.parametrize(
    ("arguments", "usage", "told"),
    [
        (["statsu"], "usage: pipeline [-h]", "'statsu' is not known; did you mean status?"),
        (["run", "etll"], "usage: pipeline run [-h]", "'etll' is not known; did you mean etl?"),
        (["run", "etl", "--sorce", "hr"], "usage: pipeline run etl", "--sorce hr; did you mean --source?"),
        (["status", "--jsno"], "usage: pipeline status", "arguments: --jsno; did you mean --json?"),
        (
            ["restore", "hr", "--intonew", "x"],
            "usage: pipeline restore",
            "--intonew; did you mean --into-new?",
        ),
        (["rerun", "--from", "lod"], "usage: pipeline rerun", "'lod' is not known; did you mean load?"),
        (["backups", "hr", "hr"], "usage: pipeline backups", "unrecognized arguments: hr"),
    ],
)
def test_a_misspelt_word_is_told_with_the_one_that_was_meant(
    arguments: list[str], usage: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(usage)
    assert told in said


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"pipeline {__version__}\n")


def test_backups_of_an_unknown_name_are_a_mistake_of_usage(archive: Archive) -> None:
    """A database that is declared and was never backed up is not a mistake."""
    archive.source("shop", "CREATE TABLE item (id int PRIMARY KEY)")
    assert archive.run("backups", "shop").code == 0
    listed = archive.run("backups", "shpo")
    assert (listed.code, listed.out) == (2, "")
    assert "database shpo: not in luigi.cfg (did you mean shop?)" in listed.err


def test_a_restore_of_an_unknown_name_is_a_mistake_of_usage(restores: Restores) -> None:
    asked = restores.archive.run("restore", "shpo", "--into-new", "copy")
    assert (asked.code, asked.out) == (2, ""), asked.err
    assert "there is no backup of shpo" in asked.err


@pytest.mark.parametrize(
    "words", [[command] for command in cli.COMMANDS] + [["run", chain] for chain in cli.chain_commands()]
)
def test_each_command_is_declared_where_it_is_said_to_be(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Only its own module is imported, so that one that is misplaced would not be found."""
    if words != ["scheduler"]:
        with pytest.raises(SystemExit) as ended:
            cli.main([*words, "--help"])
        assert ended.value.code == 0
        assert f"usage: pipeline {' '.join(words)}" in capsys.readouterr().out


def test_a_command_imports_what_it_needs_and_not_what_others_need() -> None:
    """The library of B2 takes a third of a second: whoever looks at the tables should not wait for it."""
    code = "import sys; from pipeline import cli; cli._parser(sys.argv[1:]); print(*sys.modules)"
    for command, needless in (
        ("plan", "b2sdk"),
        ("validate", "b2sdk"),
        ("migrate", "b2sdk"),
        ("status", "b2sdk pipeline.loading.load pipeline.catalog.dashboard_files.dashboards"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, command], capture_output=True, text=True, check=True
        )
        assert not {*needless.split()} & {*done.stdout.split()}, command


# What is not Python's own, and what a list of the commands may import of ours.
LISTING = {
    "pipeline",
    "pipeline.cli",
    "pipeline.cli.commands",
    "pipeline.cli.output",
    "pipeline.errors",
    "pipeline.log",
    "pipeline.names",
    "pipeline.redact",
    "pipeline.system",
    "pipeline.system.hardening",
    "pipeline.system.options",
    "pipeline.system.stopping",
}
# What there is to run.
CHAINS = {
    "pipeline.chains",
    "pipeline.chains.declared",
    "pipeline.chains.duties",
    "pipeline.chains.model",
}


@pytest.mark.parametrize(
    ("words", "needed"),
    [(["--help"], set()), (["run", "--help"], CHAINS), (["--version"], set()), (["bogus"], set())],
)
def test_a_list_of_the_commands_imports_none_of_them(words: list[str], needed: set[str]) -> None:
    """Most of the time of a short command is its imports."""
    code = "import sys; before = set(sys.modules); from pipeline import cli; cli._parser(sys.argv[1:]);"
    code += "print(*{name for name in sys.modules if name not in before})"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    found = set(done.stdout.split())
    assert {name for name in found if name.split(".")[0] == "pipeline"} == LISTING | needed
    foreign = {name.split(".")[0] for name in found} - sys.stdlib_module_names - {"pipeline"}
    assert foreign == set()


def test_the_list_of_the_commands_says_of_each_what_it_says_itself() -> None:
    def told(parser: argparse.ArgumentParser) -> dict[str, str | None]:
        (commands,) = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
        found = {one.dest: one.help for one in commands._choices_actions}
        for name in (cli.RUN,):
            if name in commands.choices and commands.choices[name]._subparsers:
                found |= {f"{name} {chain}": one for chain, one in told(commands.choices[name]).items()}
        return found

    assert told(cli._parser([])) | told(cli._parser([cli.RUN])) == told(cli._parser())


def test_what_is_refused_for_another_reason_is_told_as_that_beside_a_word_that_another_parser_knows(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of an option that only a command below it knows, the parser above must not say that it is misspelt."""
    parser = options.Parser(prog="sandbox")
    parser.add_argument("--wipe", action="store_true")
    command = parser.add_subparsers(required=True).add_parser("up")
    command.add_argument("--empty", type=int)
    parser.parse_args(["up", "--empty", "1"])
    with pytest.raises(SystemExit):
        parser.error("--wipe needs --down as well")
    with pytest.raises(SystemExit):
        parser.parse_args(["up", "--empty", "none", "--emtpy"])
    told = capsys.readouterr().err
    assert "sandbox: error: --wipe needs --down as well\n" in told
    assert "sandbox up: error: argument --empty: invalid int value: 'none'\n" in told
    assert "unrecognized" not in told
