"""bin/cron: what it promises of locks, limits, logs, exit codes and alerts, tried with real processes."""

import contextlib
import os
import re
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from pipeline.alerts import failures
from pipeline.alerts.message import Alert
from pipeline.alerts.spool import Spool
from pipeline.sandbox.home import PROJECT
from tests.support.archive import may_mount, small_disk
from tests.support.night import wait_until

CRON = PROJECT / "bin" / "cron"
NOBODY = 65534


@dataclass
class Cron:
    """bin/cron with folders of one test's own, whose names have spaces."""

    folder: Path
    started: "list[subprocess.Popen[str]]" = field(default_factory=list)

    @property
    def state(self) -> Path:
        return self.folder / "the state"

    @property
    def spool(self) -> Spool:
        return Spool(self.folder / "the alerts")

    def start(self, *arguments: str | Path) -> "subprocess.Popen[str]":
        """Start it as cron does, which is in no terminal and hands on little of its environment."""
        began = subprocess.Popen(
            [CRON, *arguments],
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={
                "PATH": "/usr/bin:/bin",
                "HOME": "/",
                "CRON_STATE": str(self.state),
                "CRON_ALERTS": str(self.spool.folder),
                "CRON_TEST": str(self.folder),
            },
        )
        self.started.append(began)
        return began

    def run(self, *arguments: str | Path) -> tuple[int, str]:
        """Run it to its end; return its exit code and what it told."""
        began = self.start(*arguments)
        out, err = began.communicate(timeout=60)
        assert out == ""
        return began.returncode, err

    def log(self, name: str) -> list[str]:
        """Return the lines of a log, without their times, each of which is held to its form."""
        lines = (self.state / f"{name}.log").read_text().splitlines()
        assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ", line) for line in lines), lines
        return [line.partition(" ")[2] for line in lines]

    def ours(self) -> list[psutil.Process]:
        """Return the living processes that came of this test's commands."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                ours = process.environ().get("CRON_TEST") == str(self.folder)
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def names(self) -> set[str]:
        """Return what those are called that have not ended meanwhile."""
        names = set()
        for process in self.ours():
            with contextlib.suppress(psutil.NoSuchProcess):
                names.add(process.name())
        return names

    def is_there(self, name: str) -> bool:
        return (self.folder / name).exists()


@pytest.fixture
def cron(tmp_path: Path) -> Iterator[Cron]:
    made = Cron(tmp_path / "with a space")
    made.folder.mkdir()
    yield made
    for process in made.ours():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    for began in made.started:
        began.communicate()


def bash(text: str) -> list[str]:
    """Return a command that runs `text`; the folder of the test is $CRON_TEST."""
    return ["bash", "-c", text]


WAITING = 'touch "$CRON_TEST/begun"; while [ ! -e "$CRON_TEST/go" ]; do sleep 0.05; done'


def test_what_a_command_says_is_kept_with_its_times_and_only_a_failure_is_mailed(cron: Cron) -> None:
    ended = cron.run("--lock", "load", *bash('echo "two  words"; echo wrong >&2; printf "the last"; exit 0'))
    assert ended == (0, "")
    begins, *said, last = cron.log("load")
    assert begins.startswith("cron: begins: 'bash' '-c' ")
    assert said == ["two  words", "wrong", "the last"]
    assert re.fullmatch(r"cron: ended with 0 after \d+ s", last)
    assert stat.S_IMODE(cron.state.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in cron.state.iterdir()] == [0o600] * 2


@pytest.mark.parametrize("code", [1, 3, 4, 5, 6, 42, 126, 137])
def test_the_exit_code_is_passed_on_and_what_was_said_last_is_told(cron: Cron, code: int) -> None:
    ended, told = cron.run("--lock", "load", "--timeout", "1h", *bash(f"echo it is broken; exit {code}"))
    assert ended == code
    first, *last = told.splitlines()
    assert re.fullmatch(
        rf"cron: load: ended with {code} after \d+ s; its log is {cron.state}/load\.log", first
    )
    assert any(line.endswith(" it is broken") for line in last)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--lock"],
        ["--lock", "", "true"],
        ["--timeout", "true"],
        ["--timeout", "2 hours", "true"],
        ["--lok", "a"],
    ],
)
def test_what_it_does_not_understand_it_does_not_do(cron: Cron, arguments: list[str]) -> None:
    code, told = cron.run(*arguments)
    assert (code, told[:6]) == (2, "cron: ")
    assert not (cron.state / "true.log").exists()


def test_arguments_arrive_as_they_are(cron: Cron) -> None:
    program = cron.folder / "a program"
    program.write_text('#!/bin/bash\nprintf "<%s>\\n" "$@"\n')
    program.chmod(0o755)
    assert cron.run(program, "two words", "", "*", "$HOME", "--lock", "x") == (0, "")
    assert cron.log("a_program")[1:-1] == ["<two words>", "<>", "<*>", "<$HOME>", "<--lock>", "<x>"]


def test_files_that_the_command_makes_have_the_rights_that_they_would_have(cron: Cron) -> None:
    own = cron.folder / "own"
    subprocess.run(
        [CRON, *bash('touch "$CRON_TEST/own"')],
        umask=0o022,
        check=True,
        env={
            "PATH": "/usr/bin:/bin",
            "CRON_STATE": str(cron.state),
            "CRON_TEST": str(cron.folder),
        },
    )
    assert stat.S_IMODE(own.stat().st_mode) == 0o644


# One at a time.


def test_a_second_one_ends_with_6_and_says_which_one_is_going(cron: Cron) -> None:
    first = cron.start("--lock", "load", *bash(WAITING))
    wait_until(lambda: cron.is_there("begun"), "the first has begun")
    code, told = cron.run("--lock", "load", *bash('touch "$CRON_TEST/twice"'))
    assert code == 6
    assert re.fullmatch(
        r"cron: load: is already running, since \d{4}-\d\d-\d\d \d\d:\d\d UTC on \S+ "
        rf"\(process {first.pid}\); wait for it to end\n",
        told,
    )
    assert cron.run("--lock", "another", "true") == (0, "")
    (cron.folder / "go").touch()
    assert first.wait(timeout=30) == 0
    assert cron.run("--lock", "load", "true") == (0, "")
    assert not cron.is_there("twice")


def test_of_many_that_start_at_once_one_runs(cron: Cron) -> None:
    command = bash(f'echo $$ >> "$CRON_TEST/ran"; {WAITING}')
    together = [cron.start("--lock", "load", *command) for _ in range(6)]
    wait_until(lambda: sum(one.poll() is not None for one in together) == 5, "all others have given up")
    (cron.folder / "go").touch()
    assert sorted(one.wait(timeout=30) for one in together) == [0, 6, 6, 6, 6, 6]
    assert len((cron.folder / "ran").read_text().split()) == 1


def test_one_that_was_killed_takes_its_command_along_and_is_in_nobodys_way(cron: Cron) -> None:
    killed = cron.start("--lock", "load", *bash("echo $$; exec sleep 600"))
    wait_until(lambda: "sleep" in cron.names(), "the command has begun")
    killed.kill()
    wait_until(lambda: not cron.ours(), "its command has ended")
    assert cron.run("--lock", "load", "true") == (0, "")


def test_the_lock_is_held_as_long_as_the_command_lives_though_nobody_waits_for_it(cron: Cron) -> None:
    """What has not ended yet must not be done by another at the same time."""
    killed = cron.start("--lock", "load", *bash(f"trap '' TERM; {WAITING}"))
    wait_until(lambda: cron.is_there("begun"), "it has begun")
    killed.kill()
    killed.wait()
    assert cron.run("--lock", "load", "true")[0] == 6
    (cron.folder / "go").touch()
    wait_until(lambda: not cron.ours(), "it has ended")
    assert cron.run("--lock", "load", "true") == (0, "")


# Not for ever, and stopped when told.


@pytest.mark.parametrize("text", ["sleep 600", "sleep 600 & wait", "kill -STOP $$; sleep 600"])
def test_what_is_over_its_limit_is_ended_with_all_its_children(cron: Cron, text: str) -> None:
    """Also what is stopped, which does not hear of it."""
    code, told = cron.run("--lock", "load", "--timeout", "1s", *bash(f"echo begun; {text}"))
    assert code == 3
    assert told.startswith("cron: load: ran longer than its limit of 1s, and was ended")
    assert cron.ours() == []
    (alert,) = cron.spool.opened()
    assert alert.summary == "load: ran longer than its limit of 1s, and was ended"
    assert (alert.key, alert.kind, alert.error) == ("cron/load", "failed", "begun")


@pytest.mark.endurance
def test_what_does_not_listen_is_killed_after_a_grace(cron: Cron) -> None:
    code, _ = cron.run("--timeout", "1s", *bash("trap '' TERM; while :; do sleep 1; done"))
    assert code == 3
    assert cron.ours() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_stops_the_command_and_waits_for_it(cron: Cron, number: signal.Signals) -> None:
    """With all of its children, and the code of that, whatever the command itself ends with."""
    tidy = 'trap "sleep 0.2; echo tidied up; exit 1" TERM; sleep 600 & touch "$CRON_TEST/begun"; wait'
    began = cron.start("--lock", "load", "--timeout", "1h", *bash(tidy))
    wait_until(lambda: cron.is_there("begun"), "it has begun")
    began.send_signal(number)
    _, told = began.communicate(timeout=30)
    assert began.returncode == 143
    assert told.startswith("cron: load: was stopped by a signal")
    assert cron.log("load")[-2:] == ["tidied up", "cron: was stopped by a signal"]
    assert cron.ours() == []
    assert cron.spool.opened() == []


def test_what_is_left_behind_with_our_output_is_not_waited_for(cron: Cron) -> None:
    daemon = """sleep 600 & setsid bash -c 'touch "$CRON_TEST/begun"; exec sleep 600' &"""
    waiting = 'while [ ! -e "$CRON_TEST/begun" ]; do sleep 0.05; done; echo done'
    code, told = cron.run(*bash(f"{daemon} {waiting}"))
    assert (code, told) == (0, "")
    assert cron.log("bash")[1] == "done"
    assert [" ".join(process.cmdline()) for process in cron.ours()] == ["sleep 600"], "but for a daemon"


# Logs.


def test_a_log_that_is_full_makes_room_and_only_so_many_are_kept(cron: Cron) -> None:
    cron.state.mkdir(mode=0o700)
    log = cron.state / "load.log"
    for number in range(1, 8):
        log.write_text(f"number {number}\n")
        os.truncate(log, 10 << 20)
        assert cron.run("--lock", "load", "true") == (0, "")
    kept = sorted(path.name for path in cron.state.glob("load.log*"))
    assert kept == ["load.log", *(f"load.log.{number}" for number in range(1, 6))]
    assert [(cron.state / name).read_bytes()[:8] for name in kept[1:]] == [
        f"number {number}".encode() for number in (7, 6, 5, 4, 3)
    ]
    assert len(cron.log("load")) == 2


def test_on_a_full_disk_the_command_runs_and_is_heard(cron: Cron) -> None:
    cron.state.mkdir(mode=0o700)
    (cron.state / "load.log").symlink_to("/dev/full")
    code, told = cron.run("--lock", "load", *bash('echo "I did it"; touch "$CRON_TEST/done"'))
    assert (code, cron.is_there("done")) == (0, True)
    assert re.search(r"^\S+Z I did it$", told, re.MULTILINE)


@pytest.mark.skipif(not may_mount(), reason="needs a small disk of its own")
def test_on_a_disk_that_is_full_to_the_last_byte_one_at_a_time_still_holds(cron: Cron) -> None:
    with small_disk(cron.folder, 64 * 1024) as disk:
        cron.state.symlink_to(disk)
        with contextlib.suppress(OSError), (disk / "filling").open("wb", buffering=0) as file:
            while file.write(b"x" * 4096):
                pass
        first = cron.start("--lock", "load", *bash(f"echo here; {WAITING}; exit 5"))
        wait_until(lambda: cron.is_there("begun"), "the first has begun")
        assert cron.run("--lock", "load", "true")[0] == 6
        (cron.folder / "go").touch()
        _, told = first.communicate(timeout=30)
        assert first.returncode == 5
        assert re.search(r"^\S+Z here$", told, re.MULTILINE)


@pytest.mark.parametrize("mode", [0o755, 0o770])
def test_a_folder_that_others_may_enter_is_refused(cron: Cron, mode: int) -> None:
    cron.state.mkdir()
    cron.state.chmod(mode)
    code, told = cron.run("--lock", "load", *bash('touch "$CRON_TEST/done"'))
    assert (code, cron.is_there("done")) == (2, False)
    assert f"{cron.state} must be a folder that belongs to" in told


@pytest.mark.skipif(os.geteuid() != 0, reason="who runs the tests is an ordinary user already")
def test_an_ordinary_user_can_use_it() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        shutil.copy(CRON, folder)
        (folder / "home").mkdir()
        os.chown(folder / "home", NOBODY, NOBODY)
        environment = {"PATH": "/usr/bin:/bin", "CRON_STATE": str(folder / "home" / "state")}
        for command, code in ((["id", "-u"], 0), (["/nowhere/python"], 127)):
            done = subprocess.run(
                [folder / "cron", "--lock", "load", *command],
                user=NOBODY,
                group=NOBODY,
                extra_groups=[],
                env={**environment, "CRON_ALERTS": str(folder / "home" / "alerts")},
                cwd="/",
                check=False,
            )
            assert done.returncode == code
        assert (folder / "home" / "state" / "load.log").read_text().splitlines()[1].endswith(f"Z {NOBODY}")
        assert [alert.key for alert in Spool(folder / "home" / "alerts").opened()] == ["cron/load"]


# Alerts.


def test_a_python_that_cannot_start_is_told_of_once_until_it_can(cron: Cron) -> None:
    """In the form in which Python keeps its own: it sends them when there is one again."""
    program = cron.folder / "pipeline"
    program.write_text('#!/nowhere/bin/python "\\\nimport pipeline\n')
    program.chmod(0o755)
    for _ in range(2):
        code, told = cron.run("--lock", "load", program, "run", "etl", 'a "quoted" \\ word')
        assert code == 127
        assert "cron: load: ended with 127" in told
    (alert,) = cron.spool.unsent()
    assert cron.spool.opened() == [alert]
    assert (alert.key, alert.kind) == ("run/etl", "failed")
    assert alert.error is not None
    assert "No such file or directory" in alert.error
    assert alert.command is not None
    assert alert.command.endswith("""'run' 'etl' 'a "quoted" \\ word'""")
    assert str(CRON) in alert.command

    program.write_text("#!/bin/bash\n")
    assert cron.run("--lock", "load", program, "run", "etl") == (0, "")
    first, second = cron.spool.unsent()
    assert (first, second.kind, second.key, second.since) == (alert, "recovered", "run/etl", alert.since)
    assert first.id != second.id
    assert cron.spool.opened() == []
    assert stat.S_IMODE(cron.spool.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in cron.spool.due()} == {0o600}


def test_a_venv_without_its_modules_is_told_of(cron: Cron) -> None:
    code, _ = cron.run("--lock", "etl", "python3", "-S", "-c", "import pipeline_that_is_not_there")
    (alert,) = cron.spool.unsent()
    assert code == 1
    assert alert.error == "ModuleNotFoundError: No module named 'pipeline_that_is_not_there'"


def test_what_the_command_has_told_itself_is_not_told_again(cron: Cron) -> None:
    """Nor mailed: what lasts for days would be, each time that the clock starts it."""
    assert cron.run("--lock", "etl", *bash('touch "$CRON_ALERTED"; exit 3')) == (3, "")
    assert cron.spool.unsent() == []
    assert cron.log("etl")[-1].startswith("cron: ended with 3")
    # Of that time only.
    code, told = cron.run("--lock", "etl", *bash("exit 3"))
    assert (code, told.startswith("cron: etl: ended with 3")) == (3, True)
    assert len(cron.spool.unsent()) == 1


def test_an_alert_that_cannot_be_left_is_said_so(cron: Cron) -> None:
    cron.spool.folder.symlink_to("/dev/null")
    code, told = cron.run("--lock", "etl", "/nowhere/python")
    assert (code, told.splitlines()[-1]) == (127, f"cron: etl: no alert could be left in {cron.spool.folder}")


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (["run", "etl"], "run/etl"),
        (["run", "backup", "hr"], "backup/hr"),
        (["run", "drill"], "run/drill"),
        (["run", "backup"], "run/backup"),
        (["run", "backup", "--run", "2026-11-22", "hr"], "run/backup"),
        (["run", "drill", "--month", "2026-11"], "run/drill"),
        (["run", "drill", "hr"], "run/drill/hr"),
        (["run", "drill", "--from", "pgbackrest"], "run/archive-drill"),
        (["run", "drill", "hr", "--from", "pgbackrest"], "drill/hr/pgbackrest"),
        # That a part of it is done ends nothing that was told of the whole.
        (["run", "etl", "--source", "hr"], "cron/x"),
        (["watch"], "cron/x"),
        (["run"], "run/"),
    ],
)
def test_what_pipeline_would_tell_of_is_told_under_its_own_key(
    cron: Cron, arguments: list[str], key: str
) -> None:
    """So that of a failure that both see one is told, whoever is first."""
    program = cron.folder / "pipeline"
    program.write_text("#!/bin/bash\nexit 1\n")
    program.chmod(0o755)
    if key.startswith(("run/", "backup/", "drill/")) and arguments[1:]:
        assert failures.typed(arguments).key == key
    for kind, left in (("warning", 2), ("failed", 1)):
        shutil.rmtree(cron.spool.folder, ignore_errors=True)
        cron.spool.add(Alert(key=key, kind=kind, summary="told before"))
        cron.run("--lock", "x", program, *arguments)
        assert [alert.key for alert in cron.spool.unsent()] == [key] * left
        assert [alert.kind for alert in cron.spool.opened()] == ["failed"]
    cron.spool.recover(key, "well")
    assert cron.spool.opened() == []
