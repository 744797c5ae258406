"""Words that are typed wrong: what was meant is asked, with the usage of the command, and exit code 2."""

import pytest

from pipeline import __version__
from pipeline.cli import main
from tests.archive import Archive


@pytest.mark.parametrize(
    ("arguments", "usage", "told"),
    [
        (["statsu"], "usage: pipeline [-h]", "'statsu' is not known; did you mean status?"),
        (["run", "etll"], "usage: pipeline run [-h]", "'etll' is not known; did you mean etl?"),
        (["run", "etl", "--sorce", "hr"], "usage: pipeline run etl", "--sorce hr; did you mean --source?"),
        (["status", "--jsno"], "usage: pipeline status", "arguments: --jsno; did you mean --json?"),
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
    """A database that is declared and was never backed up is no mistake."""
    archive.source("shop", "CREATE TABLE item (id int PRIMARY KEY)")
    assert archive.run("backups", "shop").code == 0
    listed = archive.run("backups", "shpo")
    assert (listed.code, listed.out) == (2, "")
    assert "database shpo: not in luigi.cfg (did you mean shop?)" in listed.err
