"""What a process of ours leaves on the machine is for nobody else, whatever it was started with."""

import contextlib
import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.archive import SMALL, Archive
from tests.support.night import Night, program

DECLARATION = "source: shop\ntables: {item: {}}\n"
LOOSE = stat.S_IWGRP | stat.S_IWOTH
OTHERS = stat.S_IRWXG | stat.S_IRWXO
# Each way in: what a person types, and Luigi itself.
WAYS = {
    "pipeline": "from pipeline import cli; cli.main(['status', '--run', ''])",
    "plain luigi": "import tasks",
}
TELL = "import os, resource; print(os.umask(0), *resource.getrlimit(resource.RLIMIT_CORE))"


def started(code: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run Python with an umask that takes nothing away, and with core dumps of any size."""

    def loosen() -> None:
        hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
        with contextlib.suppress(ValueError):  # this process was hardened itself, and is not root's
            resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        umask=0,
        preexec_fn=loosen,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LUIGI_CONFIG_PATH": str(folder / "none.cfg")},
    )


@pytest.mark.parametrize("way", WAYS)
def test_each_way_in_lets_others_write_nothing_and_leaves_no_core(tmp_path: Path, way: str) -> None:
    ended = started(f"import contextlib\nwith contextlib.suppress(SystemExit): {WAYS[way]}\n{TELL}", tmp_path)
    umask, *core = map(int, ended.stdout.split()[-3:])
    assert (umask & LOOSE, {0, 1} >= {*core}) == (LOOSE, True), ended.stderr


@pytest.mark.parametrize("hardened", [True, False])
def test_a_process_that_crashes_leaves_no_image_of_its_memory(tmp_path: Path, *, hardened: bool) -> None:
    """Nor do the programs that it starts: gpg, pg_dump."""
    ended = started(
        "import os, subprocess, sys\n"
        + ("from pipeline.system import hardening; hardening.harden()\n" if hardened else "")
        + "crash = 'import os, signal; os.kill(os.getpid(), signal.SIGSEGV)'\n"
        "status = os.waitpid(subprocess.Popen([sys.executable, '-c', crash]).pid, 0)[1]\n"
        "print(os.WCOREDUMP(status), os.WTERMSIG(status))",
        tmp_path,
    )
    dumped, number = ended.stdout.split()
    assert int(number) == signal.SIGSEGV, ended.stderr
    if not hardened and dumped == "False":
        pytest.skip("core dumps are switched off here")
    assert (dumped == "True") is (not hardened)


@pytest.mark.endurance
def test_what_a_night_and_a_backup_write_is_for_nobody_else_with_an_umask_of_000(
    night: Night, archive: Archive
) -> None:
    archive.source("shop", SMALL)
    night.platform.declare("shop", DECLARATION)
    work, home = archive.folder / "new" / "work", archive.folder / "new"
    archive.write_settings(work_dir=str(work))
    logs = home / "logs" / "deep"
    archive.write_sections(logs={"folder": str(logs)})
    page = str(home / "page.html")
    for arguments in (("run", "etl"), ("run", "backup", "shop"), ("watch",), ("docs", "--out", page)):
        done = subprocess.run(
            [program("pipeline"), *arguments],
            env=archive.environment(None),
            umask=0,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode in (0, 4), done.stderr
    modes = {path: path.lstat().st_mode for path in (home, *home.rglob("*")) if not path.is_symlink()}
    assert len(modes) > 10
    assert [f"{path} {stat.filemode(mode)}" for path, mode in modes.items() if mode & LOOSE] == []
    private = (work, logs)
    assert [stat.filemode(path.stat().st_mode) for path in private] == ["drwx------"] * 2
    inside = {path: mode for path, mode in modes.items() if any(one in path.parents for one in private)}
    assert [f"{path} {stat.filemode(mode)}" for path, mode in inside.items() if mode & OTHERS] == []
