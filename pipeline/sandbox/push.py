"""What the demo shows of the analysts: a commit that is live at the next sync, and one that is refused.

On a branch of its own, so that the checkout of the sandbox stays what people changed it to.
"""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.errors import CheckError, StepError
from pipeline.sandbox import configuration
from pipeline.sandbox.analysts import WHO
from pipeline.sandbox.home import Home
from pipeline.sandbox.servers.server import plain_environment
from pipeline.system import atomic, command

BRANCH, MART = "demo", "students_by_city"
GOOD = """\
-- How many students live where.
-- checks:
--   - unique: city
SELECT address ->> 'city' AS city, count(*) AS students
FROM records.student
GROUP BY 1
"""
BROKEN = GOOD.replace("records.student", "records.studnet")

# Runs `pipeline ARGUMENTS` by these settings, and returns its exit code.
Call = Callable[[Sequence[str], Path], int]


def show(home: Home, run: str, call: Call, print_line: Callable[[str], object]) -> None:
    """Push a new mart and then a broken one, as an analyst would, with a sync after each."""
    work, file = home.path / "analysts.demo", home.path / "sync.cfg"
    atomic.write(file, _settings(home))
    shutil.rmtree(work, ignore_errors=True)
    _git(home.path, "clone", "--quiet", str(home.analysts_remote), str(work))
    _git(work, "checkout", "--quiet", "-B", BRANCH)
    print_line("git push: Students by city")
    _push(work, GOOD, "Students by city")
    _expect(call, ["sync"], file, 0)
    _expect(call, ["run", "mart", MART, "--run", run], file, 0)
    print_line("git push: A typing error")
    _push(work, BROKEN, "A typing error")
    _expect(call, ["sync"], file, CheckError.exit_code)
    print_line(f"refused, with an alert; the previous version stays in use, and mart.{MART} stays as it was")
    shutil.rmtree(work)


def _expect(call: Call, arguments: Sequence[str], file: Path, code: int) -> None:
    if (ended := call(arguments, file)) != code:
        raise StepError(f"'pipeline {' '.join(arguments)}' ended with {ended}, expected {code}")


def _settings(home: Home) -> str:
    """Return the sandbox's settings, with the analysts' repository fetched as in production."""
    own = configuration.sections(home)
    own["analysts"] = {
        "checkout": str(home.path / "synced"),
        "repository": f"file://{home.analysts_remote}",
        "branch": BRANCH,
    }
    return configuration.render(configuration.template(), own)


def _push(work: Path, text: str, message: str) -> None:
    (work / "marts" / f"{MART}.sql").write_text(text)
    _git(work, "add", "--all")
    _git(work, *WHO, "commit", "--quiet", "--no-gpg-sign", "--allow-empty", f"--message={message}")
    _git(work, "push", "--quiet", "--force", "origin", f"HEAD:{BRANCH}")


def _git(folder: Path, *arguments: str) -> None:
    settings = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
    command.run(["git", "-C", folder, *arguments], environment={**plain_environment(), **settings})
