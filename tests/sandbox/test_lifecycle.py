"""Up and down survive what happens to them, and leave nothing behind."""

import contextlib
import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import psycopg2
import pytest

from pipeline.errors import StepError
from pipeline.sandbox import accounts
from pipeline.sandbox.servers import processes, servers, vault_server
from pipeline.sandbox.servers.server import Server
from tests.sandbox.conftest import CommandLine

pytestmark = pytest.mark.endurance

BY_NAME = {server.name: server for server in servers.ALL}
TIMEOUT_SECONDS = 60


def _warehouse_user(own: CommandLine) -> str:
    """Return who logs in to the warehouse with the URI in Vault."""
    entry = vault_server.administrator(own.home).read("warehouse")
    assert entry is not None
    connection = psycopg2.connect(entry["uri"])
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_user")
            ((user,),) = cursor.fetchall()
            return str(user)
    finally:
        connection.close()


def _process(own: CommandLine, server: Server) -> psutil.Process:
    process = server.process(own.home)
    assert process is not None, server.name
    return process


@pytest.mark.endurance
def test_a_second_up_changes_nothing_and_says_so(own: CommandLine) -> None:
    before = [process.pid for process in own.processes()][: len(servers.ALL)]
    settings = own.home.settings_file.read_text()
    assert "already up" in own("up", "--empty").stdout
    assert [process.pid for process in own.processes()][: len(servers.ALL)] == before
    assert own.home.settings_file.read_text() == settings


def test_up_prints_the_address_of_each_server(own: CommandLine) -> None:
    said = own("up", "--empty").stdout
    for server in servers.ALL:
        assert f"{server.name:<10} {server.address(own.home)}" in said


@pytest.mark.parametrize("name", ["warehouse", "vault", "webhooks"])
def test_up_restarts_a_server_that_was_killed(own: CommandLine, name: str) -> None:
    server = BY_NAME[name]
    killed = _process(own, server)
    killed.kill()
    said = own("up", "--empty").stdout
    assert "already up" not in said
    assert _process(own, server).pid != killed.pid
    assert _warehouse_user(own) == "pipeline"


@pytest.mark.endurance
def test_a_record_that_names_a_stranger_is_not_believed(own: CommandLine) -> None:
    """A process number is given away again: neither taken for the server, nor ended in its place."""
    own("down")
    home = own.home
    stranger = psutil.Process()
    for server in servers.ALL:
        server.record(home).write_text(
            json.dumps({"pid": stranger.pid, "created": stranger.create_time() - 3600})
        )
    (home.servers("warehouse") / "postmaster.pid").write_text(f"{stranger.pid}\n")
    assert processes.running(BY_NAME["vault"].record(home)) is None
    own("down")
    own("up", "--empty")
    assert _warehouse_user(own) == "pipeline"


def test_a_record_that_is_damaged_is_not_believed(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    for text in ("", "{", "[]", '{"pid": "x", "created": 1}', "7"):
        record.write_text(text)
        assert processes.running(record) is None


@pytest.mark.endurance
def test_a_port_taken_since_is_left_to_who_has_it_and_the_credentials_follow(own: CommandLine) -> None:
    own("down")
    taken = dict(own.home.state.ports)
    with socket.socket() as vault, socket.socket() as warehouse:
        for listener, name in ((vault, "vault"), (warehouse, "warehouse")):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Where another sandbox has taken it already, that does as well.
            with contextlib.suppress(OSError):
                listener.bind(("127.0.0.1", taken[name]))
                listener.listen()
        own("up", "--empty")
    ports = own.home.state.ports
    assert ports["vault"] != taken["vault"]
    assert ports["warehouse"] != taken["warehouse"]
    assert ports["sources"] == taken["sources"]
    assert f":{ports['vault']}" in own.home.settings_file.read_text()
    assert _warehouse_user(own) == "pipeline"


@pytest.mark.endurance
def test_two_ups_at_once_make_one_sandbox(own: CommandLine) -> None:
    own("down")
    both = [own.start("up", "--empty") for _ in range(2)]
    said = [process.communicate(timeout=TIMEOUT_SECONDS)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sum("already up" in text for text in said) == 1
    assert len(servers.ALL) == len([server for server in servers.ALL if server.process(own.home)])


def test_nothing_listens_beyond_loopback(own: CommandLine) -> None:
    listening = {
        one.laddr.ip
        for process in own.processes()
        for one in process.net_connections(kind="inet")
        if one.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root drops privileges")
def test_root_runs_postgresql_and_vault_as_nobody(own: CommandLine) -> None:
    unprivileged = [server for server in servers.FOUNDATIONS if server.name != "b2"]
    for server in unprivileged:
        assert set(_process(own, server).uids()) == {65534}, server.name
    for server in unprivileged:
        assert own.home.servers(server.name).stat().st_mode & 0o077 == 0


def test_files_are_private(own: CommandLine) -> None:
    """Nothing in the home can be entered by anybody else."""
    assert own.path.stat().st_mode & 0o077 == 0
    assert Path(own.home.state.socket_folder).stat().st_mode & 0o077 == 0
    for name in ("init.json", "secret-id"):
        assert (own.home.vault_keys / name).stat().st_mode & 0o777 == 0o600


@pytest.mark.endurance
def test_a_password_is_shown_on_a_terminal_alone(own: CommandLine) -> None:
    """Elsewhere it would stay in a file or a log; and it stays the same over `up`."""
    assert "on a terminal only" in own("password", "operator", expect=2).stderr
    shown = []
    for _ in range(2):
        terminal, behind = pty.openpty()
        subprocess.run(own.line("password", "operator"), env=own.environment, stdout=behind, check=True)
        os.close(behind)
        shown.append(os.read(terminal, 1000).decode().strip())
        os.close(terminal)
        own("down")
        own("up", "--empty")
    entry = vault_server.administrator(own.home).read("scheduler") or {}
    assert shown == [entry["operator"]] * 2
    assert len({*entry.values()}) == 3
    assert own.home.settings_file.read_text().count(entry["operator"]) == 0


@pytest.mark.endurance
def test_a_server_that_does_not_start_is_told_with_its_log(own: CommandLine) -> None:
    own("down")
    configuration = own.home.servers("drill") / "postgresql.conf"
    whole = configuration.read_text()
    configuration.write_text(whole + "\nno_such_setting = 1\n")
    try:
        said = own("up", "--empty", expect=StepError.exit_code).stderr
        assert "drill did not start" in said
        assert "no_such_setting" in said
    finally:
        configuration.write_text(whole)
        own("up", "--empty")


@pytest.mark.endurance
def test_down_ends_every_process(own: CommandLine) -> None:
    ours = own.processes()
    sockets = own.home.state.socket_folder
    assert len(ours) > len(servers.ALL)  # children too
    own("down")
    assert [process for process in ours if processes.is_alive(process)] == []
    assert own.traces() == []
    assert not Path(sockets).exists()
    own("up", "--empty")


def test_a_server_that_does_not_obey_is_ended_by_force(monkeypatch: pytest.MonkeyPatch) -> None:
    deaf = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(600)",
        ],
        stdout=subprocess.PIPE,
    )
    assert deaf.stdout is not None
    with deaf.stdout:
        deaf.stdout.readline()
        monkeypatch.setattr(processes, "GRACE_SECONDS", 0.2)
        processes.end([(psutil.Process(deaf.pid), signal.SIGTERM)])
        assert deaf.wait(timeout=TIMEOUT_SECONDS) is not None


@pytest.mark.endurance
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["vault.json", "webhooks.json"])
def test_up_that_is_stopped_half_way_is_cleaned_by_down(
    tmp_path: Path, number: signal.Signals, moment: str
) -> None:
    command = CommandLine(tmp_path / "home")
    going = command.start("up")
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while (
        not (command.path / "run" / moment).exists() and time.monotonic() < deadline and going.poll() is None
    ):
        time.sleep(0.01)
    going.send_signal(number)
    said = going.communicate(timeout=TIMEOUT_SECONDS)[0]
    assert going.returncode == 143, said
    assert "bin/sandbox down" in said
    data = (command.path / "servers").resolve()
    command("down", "--wipe")
    assert not command.path.exists()
    assert not data.exists()
    assert command.traces() == []


def test_a_damaged_home_can_be_wiped(tmp_path: Path) -> None:
    command = CommandLine(tmp_path / "home")
    command.path.mkdir()
    (command.path / "state.json").write_text("{")
    assert "--wipe" in command("up", "--empty", expect=2).stderr
    command("down", "--wipe")
    assert not command.path.exists()


def test_commands_without_a_sandbox_say_how_to_start_one(tmp_path: Path) -> None:
    command = CommandLine(tmp_path / "none")
    for arguments in (("env",), ("psql", "hr"), ("day2",)):
        assert "bin/sandbox up" in command(*arguments, expect=2).stderr
    command("down")


@pytest.mark.endurance
@pytest.mark.skipif(os.geteuid() != 0, reason="all the other tests run as an ordinary user then")
def test_an_ordinary_user_can_have_one() -> None:
    """Its servers run as that user, and root's own ways are not taken."""
    python = _python_for_everybody()
    folder = Path(tempfile.mkdtemp(prefix="ordinary-", dir="/tmp"))
    os.chown(folder, 65534, 65534)
    command = CommandLine(folder / "home", python=python, account=accounts.Account(65534, 65534))
    os.environ["PYTHONPATH"], before = (
        os.pathsep.join(path for path in sys.path if path),
        os.environ.get("PYTHONPATH"),
    )
    try:
        command("up", "--empty")
        try:
            for server in servers.ALL:
                assert set(_process(command, server).uids()) == {65534}, server.name
            assert (command.path / "servers").is_dir()
            assert not (command.path / "servers").is_symlink()
        finally:
            command("down", "--wipe")
    finally:
        shutil.rmtree(folder)
        del os.environ["PYTHONPATH"]
        if before is not None:
            os.environ["PYTHONPATH"] = before


def _python_for_everybody() -> str:
    """Return a Python of this version with which an ordinary user can import what we can."""
    paths = os.pathsep.join(path for path in sys.path if path)
    version = f"python3.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        try:
            subprocess.run(
                [python, "-c", "import luigi, pipeline.sandbox"],
                user=65534,
                group=65534,
                check=True,
                cwd="/",
                env={"PYTHONPATH": paths},
                capture_output=True,
            )
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    pytest.skip("there is no Python, with our packages, that an ordinary user can execute")
