"""The small parts: ports, settings, the catcher of webhooks, programs that nobody else can reach."""

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pipeline.errors import StepError
from pipeline.sandbox import accounts, configuration, ports
from tests.support.platforms import Sandbox


def _ask(sandbox: Sandbox, method: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", sandbox.home.state.ports["webhooks"], timeout=10)
    try:
        connection.request(method, "/", body)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_a_webhook_is_kept_and_listed(sandbox: Sandbox) -> None:
    before = len(json.loads(_ask(sandbox, "GET")[1]))
    assert _ask(sandbox, "POST", b'{"text": "a\\nb \xc3\xa9"}')[0] == 204
    assert _ask(sandbox, "POST", b"[1]")[0] == 204
    assert _ask(sandbox, "POST", b"not JSON")[0] == 400
    assert json.loads(_ask(sandbox, "GET")[1])[before:] == [{"text": "a\nb é"}, [1]]
    assert sandbox.home.webhooks_file.stat().st_mode & 0o777 == 0o600


def test_a_port_that_is_listened_at_is_not_chosen() -> None:
    with socket.socket() as listener, ports.reservations():
        listener.bind(("0.0.0.0", 0))  # noqa: S104 - a stranger that takes the port everywhere
        listener.listen()
        taken = listener.getsockname()[1]
        assert ports.choose(taken, {taken + 1}) > taken + 1


def test_a_port_that_another_sandbox_has_just_chosen_is_not_chosen() -> None:
    """Between its choice and its server's start the port is still free to look at."""
    code = (
        "from pipeline.sandbox import ports; import sys; "
        "print(ports.reserve(int(sys.argv[1])), flush=True); input()"
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout is not None
    try:
        assert other.stdout.readline() == "True\n"
        with ports.reservations():
            assert not ports.reserve(port)
        other.communicate("\n")
        with ports.reservations():
            assert ports.reserve(port)
    finally:
        other.kill()
        other.wait()


def test_too_many_taken_ports_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "TRIES", 1)
    with pytest.raises(StepError, match="no port between 20000 and 20001"):
        ports.choose(20000, {20000})


def test_the_settings_are_the_projects_with_the_sandboxs_over_them() -> None:
    """Also where two spellings of a key are the same to Luigi; the project's own databases are left out."""
    project = (
        "[core]\ndefault_scheduler_port = 1\nno_lock = True\n"
        "[source.production]\nsecret = p\n[Task]\nKeep = %(x)s ${Y}\n"
    )
    rendered = configuration.render(
        project, {"core": {"default-scheduler-port": "2"}, "drill": {"secret": "d"}}
    )
    lines = rendered.split("\n\n", 1)[1].split()
    assert " ".join(lines) == (
        "[core] no_lock = True default-scheduler-port = 2 [Task] Keep = %(x)s ${Y} [drill] secret = d"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root drops privileges")
def test_a_program_that_the_unprivileged_user_cannot_reach_is_copied_with_its_installation() -> None:
    account = accounts.server_account()
    root = Path(tempfile.mkdtemp(prefix="copies-", dir="/tmp"))
    root.chmod(0o755)
    try:
        hidden = root / "hidden"
        (hidden / "installation" / "bin").mkdir(parents=True)
        program = hidden / "installation" / "bin" / "program"
        program.write_text('#!/bin/sh\ncat "$(dirname "$0")/../beside"\n')
        program.chmod(0o755)
        (hidden / "installation" / "beside").write_text("found")
        hidden.chmod(0o700)
        copy = accounts.executable_by(account, program, root / "copies")
        assert copy != program
        told = subprocess.run(
            [copy], **accounts.popen_arguments(account), capture_output=True, check=True, cwd="/"
        )
        assert told.stdout == b"found"
        hidden.chmod(0o755)
        assert accounts.executable_by(account, program, root / "copies") == program
    finally:
        shutil.rmtree(root)
