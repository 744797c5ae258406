"""The scheduler: nobody comes in without a login, a reader changes nothing, and a kill loses nothing."""

import asyncio
import contextlib
import json
import os
import pickle
import re
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import luigi.server
import pytest
import requests
import trustme
from luigi.scheduler import RPC_METHODS
from luigi.task_status import DONE, FAILED, PENDING, RUNNING
from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from pipeline import postgres, settings
from pipeline.errors import UsageError
from pipeline.scheduler import visualizer
from tasks.luigi_internals import Scheduler
from tasks.scheduler import access_control, listening, pages, server
from tasks.scheduler.listening import Encryption
from tasks.scheduler.state import State
from tests.support.hooks import Hook
from tests.support.night import Night, next_run, program, wait_until
from tests.support.platforms import Platform
from tests.support.schedulers import Door, Served, door, served

# What a login is asked for with. Anything more than this would be something that is served.
CHALLENGE = "log in as operator or reader\n"


FAMILY = "test.Task"


@pytest.fixture
def shared(platform: Platform) -> Iterator[Door]:
    """The sandbox's own scheduler."""
    made = door(platform)
    yield made
    # There are no workers: whoever watches that scheduler would miss them at what is never done.
    for name, shown in made.tasks().items():
        if shown["name"] == FAMILY and shown["status"] == RUNNING:
            made.call("add_task", "worker", **{**task(name), "status": DONE})


@pytest.fixture
def own(night: Night, tmp_path: Path) -> Iterator[Served]:
    """A scheduler of the test's own; start it."""
    folder = tmp_path / "scheduler"
    folder.mkdir(mode=0o700)
    with served(night.platform, folder) as made:
        yield made


def paths() -> list[str]:
    """Return a path for every route there is, every RPC, every file, and some that there are not."""
    application = pages.application(Scheduler(), Path("/var/log"))
    patterns = [
        rule.matcher.regex.pattern
        for outer in application.default_router.rules
        for rule in outer.target.rules
    ]
    assert len(patterns) > 12
    # Every group is filled with something.
    found = [re.sub(r"\(.*\)|\[.*\*", "x", pattern.rstrip("$")).replace("\\", "") for pattern in patterns]
    static = Path(luigi.server.__file__).parent / "static"
    found += [f"/static/{file.relative_to(static)}" for file in static.rglob("*") if file.is_file()]
    found += [f"/api/{method}" for method in RPC_METHODS]
    return [
        *found,
        "/",
        "/favicon.ico",
        "/robots.txt",
        "/metrics",
        "/history",
        "/static/visualiser/index.html",
        "/log/2030-01-01/etl.LoadTable_1",
        "/none",
        "/static/../server.py",
        "//api/pause",
        "/api/%70ause",
        "/.git/config",
    ]


@pytest.mark.endurance
def test_without_a_login_nothing_is_served(shared: Door) -> None:
    asked = set()
    for path in paths():
        for method in ("GET", "POST"):
            answer = shared.ask(path, method=method)
            assert (answer.status_code, answer.text) == (401, CHALLENGE), path
            assert answer.headers["WWW-Authenticate"].startswith("Basic "), path
            asked.add(path)
    for method in ("HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"):
        assert shared.ask("/static/visualiser/index.html", method=method).status_code == 401
    assert len(asked) > 80
    # Whatever is not exactly a login is none.
    for header in ("Bearer x", "Basic", "Basic !", "Basic b3BlcmF0b3I=", "Basic b3BlcmF0b3I6", "basic Og=="):
        answer = shared.ask("/metrics", headers={"Authorization": header})
        assert (answer.status_code, answer.text) == (401, CHALLENGE), header
    for who in ("operator", "reader", "worker", "admin", ""):
        assert shared.ask("/api/task_list", who or "x", password="not the right one").status_code == 401
    # The password of one login is not that of another.
    assert shared.ask("/metrics", "operator", password=shared.passwords["reader"]).status_code == 401


def test_a_body_is_not_read_from_a_stranger(shared: Door) -> None:
    """It is answered before the body has come: nobody fills the scheduler's memory unasked."""
    sent = 0

    def body() -> Iterator[bytes]:
        nonlocal sent
        while sent < 300 * 2**20:
            sent += 2**16
            yield b"x" * 2**16

    # The answer may be lost when the connection is closed before everything was sent.
    with contextlib.suppress(requests.ConnectionError):
        assert requests.post(f"{shared.url}/api/add_task", data=body(), timeout=30).status_code == 401
    assert sent < 300 * 2**20


def task(name: str) -> dict[str, object]:
    """Return the arguments that add a task which is ready to run."""
    return {
        "task_id": name,
        "worker": f"Worker({name})",
        "family": FAMILY,
        "module": "antigravity",
        "params": {"run": name},
        "status": PENDING,
        "runnable": True,
    }


def test_a_reader_sees_everything_and_changes_nothing(shared: Door) -> None:
    mine, theirs = next_run(), next_run()
    shared.call("add_task", "worker", **task(mine))
    before = shared.tasks()
    for method in RPC_METHODS:
        arguments = json.dumps({"task_id": mine, "worker": f"Worker({mine})"})
        answer = shared.ask(f"/api/{method}", "reader", method="POST", data={"data": arguments})
        if method in access_control.READING:
            assert answer.status_code in (200, 500), method  # it may lack an argument
        else:
            assert answer.status_code == 403, method
            assert "the login reader may not do this" in answer.text
    added = shared.ask("/api/add_task", "reader", method="POST", data={"data": json.dumps(task(theirs))})
    assert added.status_code == 403
    assert {name: before[name] for name in (mine,)} == {name: shared.tasks()[name] for name in (mine,)}
    assert theirs not in shared.tasks()
    assert (
        shared.call("get_work", "worker", worker="Worker(idle)", host="h", assistant=True)["task_id"]
        != theirs
    )
    for path in ("/static/visualiser/index.html", "/history", "/metrics"):
        assert shared.ask(path, "reader").status_code == 200, path
    for path in ("/tasklist", "/tasklist/LoadWarehouse"):
        assert shared.ask(path, "reader").status_code == 404, path


def test_a_worker_has_the_calls_that_it_needs_and_no_others(shared: Door) -> None:
    for method in sorted(set(RPC_METHODS) - access_control.WORKING):
        assert shared.ask(f"/api/{method}", "worker", method="POST").status_code == 403, method
    for path in ("/", "/static/visualiser/index.html", "/history", "/metrics", "/log/a/b"):
        assert shared.ask(path, "worker").status_code == 403, path
    assert {
        "pause",
        "update_resources",
        "set_worker_processes",
        "send_scheduler_message",
    } & access_control.WORKING == set()


def test_the_calls_are_those_of_the_installed_luigi() -> None:
    """One that a new version adds is the operator's alone, and told here until somebody has thought of it."""
    operating = {
        "prune",
        "pause",
        "unpause",
        "mark_as_done",
        "set_worker_processes",
        "send_scheduler_message",
        "get_scheduler_message_response",
        "update_resource",
        "update_resources",
    }
    assert set(RPC_METHODS) == access_control.WORKING | operating
    assert access_control.WORKING & operating == set()


OTHERS = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": "https://example.org"},
    {"Origin": "null"},
    {"Referer": "https://example.org/page"},
]


def test_a_page_of_another_site_cannot_use_an_operators_login(shared: Door) -> None:
    """A browser sends the password along for whoever asks, and Luigi's calls are made by GET."""
    for headers in OTHERS:
        for method in ("GET", "POST"):
            for path in ("/api/pause", "/api/%70ause", "/api/forgive_failures"):
                answer = shared.ask(path, "operator", method=method, headers=headers)
                assert answer.status_code == 403, (path, headers)
                assert "another site" in answer.text
    assert shared.call("is_paused") == {"paused": False}
    host = shared.url.removeprefix("http://")
    for headers in (
        {},
        {"Sec-Fetch-Site": "same-origin"},
        {"Origin": f"http://{host}", "Referer": f"http://{host}/static"},
    ):
        assert shared.ask("/api/unpause", "operator", headers=headers).status_code == 200
    # To read is harmless: the other page does not get to see it.
    answer = shared.ask("/api/task_list", "operator", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_browsers_are_told_to_trust_nothing_else(shared: Door) -> None:
    for path, who in (("/", "reader"), ("/api/graph", "operator"), ("/none", "reader"), ("/", None)):
        headers = shared.ask(path, who).headers
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        script = re.search(r"script-src ([^;]*)", headers["Content-Security-Policy"])
        assert script
        assert "unsafe" not in script[1]
        assert "http" not in headers["Content-Security-Policy"]
        assert "Server" not in headers


def test_a_steps_log_is_text_and_nothing_else_is_shown(platform: Platform, shared: Door) -> None:
    folder = settings.read([platform.settings_file]).logs.folder
    run = next_run()
    (folder / run).mkdir(mode=0o700, parents=True)
    (folder / run / "etl.LoadTable_x.log").write_text("<b>one</b>\nÜ\n")
    (folder / run / "other.txt").write_text("no log")
    (folder / run / "link.log").symlink_to("/etc/passwd")
    answer = shared.ask(f"/log/{run}/etl.LoadTable_x", "reader")
    assert (answer.text, answer.headers["Content-Type"]) == ("<b>one</b>\nÜ\n", "text/plain; charset=UTF-8")
    up = "../" * 12 + "etc/passwd"
    for path in (
        f"{run}/none",
        f"{run}/other",
        f"{run}/other.txt",
        f"{run}/link",
        f"{run}/..",
        f"{run}/",
        run,
        "",
        f"../{run}/etl.LoadTable_x",
        up,
        up.replace("/", "%2f"),
        f"{run}/{up}".replace("/", "%2F"),
        f"{run}%2fetl.LoadTable_x/x",
        f"{run}/etl.LoadTable_x%00",
        "%2e%2e/%2e%2e/etc/passwd",
        "none/etl.LoadTable_x",
    ):
        # As it is: the client would tidy it up.
        request = requests.Request(
            "GET", shared.url, auth=visualizer.basic("reader", shared.passwords["reader"])
        )
        prepared = request.prepare()
        prepared.url = f"{shared.url}/log/{path}"
        assert requests.Session().send(prepared, timeout=30).status_code == 404, path


ATTACK = "<img src=x onerror=alert(1)>"


def test_what_workers_send_is_safe_in_luigis_page(shared: Door) -> None:
    """Luigi inserts it as HTML; a text that its sender escaped is shown as it was meant."""
    name, worker = next_run(), f"Worker({next_run()})"
    shared.call(
        "add_task", "worker", **{**task(name), "status": RUNNING, "tracking_url": "javascript:alert(1)"}
    )
    assert shared.tasks()[name]["tracking_url"] is None
    for link in ("/log/2030-01-01/x", "https://example.org/x?y=1"):
        shared.call("add_task", "worker", **{**task(name), "status": RUNNING, "tracking_url": link})
        assert shared.tasks()[name]["tracking_url"] == link
    for message in (ATTACK, "&lt;img src=x onerror=alert(1)&gt;"):
        shared.call("set_task_status_message", "worker", task_id=name, status_message=message)
        shown = shared.call("get_task_status_message", "reader", task_id=name)["statusMessage"]
        assert shown == "&lt;img src=x onerror=alert(1)&gt;"
    for spoiled in (
        {"task_id": ATTACK},
        {"family": ATTACK},
        {"module": ATTACK},
        {"worker": ATTACK},
        {"deps": [ATTACK]},
        {"priority": ATTACK},
        {"status": ATTACK},
        {"resources": {ATTACK: 1}},
        {"resources": {"r": ATTACK}},
        {"task_id": 7},
    ):
        data = {"data": json.dumps({**task(next_run()), **spoiled})}
        answer = shared.ask("/api/add_task", "worker", method="POST", data=data)
        assert answer.status_code == 400, spoiled
        assert "<" not in answer.text
    for method, arguments in (
        ("set_task_progress_percentage", {"task_id": name, "progress_percentage": ATTACK}),
        ("add_worker", {"worker": ATTACK, "info": {}}),
    ):
        data = {"data": json.dumps(arguments)}
        assert shared.ask(f"/api/{method}", "worker", method="POST", data=data).status_code == 400
    shared.call("disable_worker", "worker", worker=worker)


def test_guessing_is_slow_and_shuts_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_control, "DELAY_SECONDS", 3600.0)
    monkeypatch.setattr(access_control, "MOST_DELAYED", 2)
    asyncio.run(_guessing())
    assert access_control.NotLoggedIn._delayed == 0, "whoever goes away is not waited for"


async def _guessing() -> None:
    right, failed = {"operator": "the right password", "reader": "another password"}, []
    (port,) = sockets = bind_sockets(0, "127.0.0.1")
    address = f"http://127.0.0.1:{port.getsockname()[1]}/api/is_paused"
    application = pages.application(Scheduler(), None)
    door = HTTPServer(access_control.AccessControl(application, lambda: right, lambda: failed.append(1)))
    door.add_sockets(sockets)
    client = AsyncHTTPClient(force_instance=True)

    async def ask(password: str) -> HTTPResponse:
        return await client.fetch(
            address, auth_username="operator", auth_password=password, raise_error=False, request_timeout=30
        )

    guesses = [asyncio.create_task(ask(f"a guess {number}")) for number in range(2)]
    while access_control.NotLoggedIn._delayed < 2:
        assert not any(guess.done() for guess in guesses)
        await asyncio.sleep(0.01)
    refused = await ask("one more")
    assert (refused.code, refused.headers["Retry-After"]) == (429, "5")
    assert (await ask(right["operator"])).code == 200
    assert not any(guess.done() for guess in guesses)
    assert len(failed) == 3
    door.stop()
    for guess in guesses:
        guess.cancel()
    await asyncio.gather(*guesses, return_exceptions=True)
    client.close()


# A scheduler of the test's own.


@pytest.mark.endurance
def test_a_changed_password_is_good_without_a_restart(own: Served) -> None:
    way_in = own.start()
    vault, old = own.platform.sandbox.vault, way_in.passwords
    new = {**old, "worker": "another one, as long as it has to be"}
    vault.write(own.entry, new)
    assert way_in.call("is_paused", "worker") == {"paused": False}
    # The first use of the new one has it read; from then on the old one is not good any more.
    wait_until(
        lambda: way_in.ask("/api/is_paused", "worker", password=new["worker"]).status_code == 200,
        "the new password is good",
    )
    assert way_in.ask("/api/is_paused", "worker").status_code == 401
    assert not any(password in own.log for password in (*old.values(), *new.values()))
    # What is not good is not taken over.
    vault.write(own.entry, {**new, "worker": "short"})
    assert way_in.ask("/api/is_paused", "worker", password="short").status_code == 401
    wait_until(lambda: "too short" in own.log, "the scheduler says so")
    assert way_in.ask("/api/is_paused", "worker", password=new["worker"]).status_code == 200


@pytest.mark.endurance
def test_its_state_survives_a_kill(own: Served) -> None:
    way_in, name, failed = own.start(), next_run(), next_run()
    way_in.call("add_task", "worker", **task(name))
    way_in.call("add_task", "worker", **{**task(failed), "status": FAILED, "expl": "why"})
    wait_until(lambda: own.state.exists() and failed.encode() in own.state.read_bytes(), "the state is saved")
    assert stat.S_IMODE(own.state.stat().st_mode) == 0o600
    own.end(signal.SIGKILL)
    way_in = own.start()
    assert {name: task["status"] for name, task in way_in.tasks().items()} == {name: PENDING, failed: FAILED}
    assert way_in.call("fetch_error", task_id=failed)["error"] == "why"
    # Told to stop it saves what is newer than the last few seconds.
    last = next_run()
    way_in.call("add_task", "worker", **task(last))
    own.end()
    assert last.encode() in own.state.read_bytes()
    assert "Traceback" not in own.log


class _Attack:
    def __init__(self, file: Path) -> None:
        self._file = str(file)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self._file,)


@pytest.mark.endurance
def test_a_state_that_could_be_somebody_elses_is_not_believed(own: Served) -> None:
    proof = own.folder / "proof"
    own.state.write_bytes(pickle.dumps(({}, {}, _Attack(proof))))
    own.state.chmod(0o666)
    refused = refusal(own)
    assert (refused.returncode, "could run code here" in refused.stderr) == (2, True)
    own.state.chmod(0o600)
    own.start()
    assert not proof.exists()
    assert own.state.with_name("state.pickle.unreadable").exists()
    assert own.door.tasks() == {}
    # A second one finds the port taken, and leaves everything to the first.
    refused = refusal(own)
    assert (refused.returncode, "cannot listen there" in refused.stderr) == (2, True)


def refusal(own: Served) -> "subprocess.CompletedProcess[str]":
    """Run a scheduler that does not start."""
    return subprocess.run(
        own.command(), env=own.platform.env, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.endurance
def test_a_locked_history_holds_nobody_up(own: Served) -> None:
    """It is written beside the calls, and later; what could not be is written at the end at the latest."""
    way_in = own.start()
    night = Night(own.platform)
    written = "SELECT count(*) FROM ops.task_events WHERE event_name = 'PENDING'"
    before = night.value("warehouse", written)
    with night.warehouse() as blocker:
        blocker.autocommit = False
        postgres.rows(blocker, "LOCK TABLE ops.tasks IN ACCESS EXCLUSIVE MODE")
        for _ in range(40):
            way_in.call("add_task", "worker", **task(next_run()))
        wait_until(lambda: own.log.count("the task history cannot be written") == 1, "it gives up", 30)
        assert own.log.count("the task history cannot be written") == 1
    assert way_in.ask("/history", "reader").status_code == 200
    own.end()
    assert night.value("warehouse", written) == before + 40


@pytest.mark.endurance
def test_what_the_warehouse_refuses_of_the_history_keeps_nothing_else_out(own: Served) -> None:
    """Neither records that are gone, as in a warehouse that was put back, nor values that it cannot hold."""
    way_in, name, other = own.start(), next_run(), next_run()
    night = Night(own.platform)

    def written(task_id: str) -> list[str]:
        query = (
            "SELECT event_name FROM ops.task_events JOIN ops.tasks t ON t.id = task_events.task_id"
            " WHERE t.task_id = %s ORDER BY task_events.id"
        )
        return [event for (event,) in night.ask("warehouse", query, (task_id,))]

    way_in.call("add_task", "worker", **task(name))
    wait_until(lambda: written(name) == [PENDING], "it is written", 30)
    night.ask("warehouse", "TRUNCATE ops.tasks RESTART IDENTITY CASCADE")
    way_in.call("add_task", "worker", **task(other))
    way_in.call("add_task", "worker", **{**task(name), "status": DONE})
    wait_until(lambda: (written(other), written(name)) == ([PENDING], [DONE]), "both have a record", 20)
    for bad in ({"params": {"a": "\0"}}, {"family": "f" * 200}, {"params": {"a": {"no": "text"}}}):
        way_in.call("add_task", "worker", **{**task(next_run()), **bad})
    last = next_run()
    way_in.call("add_task", "worker", **task(last))
    wait_until(lambda: written(last) == [PENDING], "what came after them is written", 20)
    assert "events of the task history" in own.log
    assert "retrying in" not in own.log


@pytest.mark.endurance
def test_metrics_tell_the_last_success_also_after_a_restart(own: Served) -> None:
    way_in, name = own.start(), next_run()
    assert "luigi_task_last_success_timestamp_seconds{" not in way_in.ask("/metrics", "reader").text
    for status in (PENDING, RUNNING, DONE):
        way_in.call("add_task", "worker", **{**task(name), "status": status})
    # One that fails before it runs has no time of running.
    way_in.call("add_task", "worker", **{**task(next_run()), "family": "test.Other", "status": FAILED})

    def successes() -> dict[str, float]:
        pattern = r'^luigi_task_last_success_timestamp_seconds\{family="([^"]+)"\} (\S+)$'
        found = re.findall(pattern, way_in.ask("/metrics", "reader").text, re.MULTILINE)
        return {family: float(seconds) for family, seconds in found}

    written = "SELECT count(*) FROM ops.task_events WHERE event_name IN ('DONE', 'FAILED')"
    wait_until(lambda: Night(own.platform).value("warehouse", written) >= 2, "the history has them", 30)
    before, done_at = successes(), way_in.tasks()[name]["last_updated"]
    assert before == {"test.Task": pytest.approx(done_at, abs=1)}
    assert 'luigi_task_failed_total{family="test.Other"} 1.0' in way_in.ask("/metrics", "operator").text
    own.end(signal.SIGKILL)
    own.state.unlink(missing_ok=True)
    way_in = own.start()
    # The ledger has figures as well.
    night = Night(own.platform)
    night.ask(
        "warehouse",
        "INSERT INTO ops.watermark (source, table_name, run, snapshot_at, horizon, system_identifier,"
        " timeline, rows, loaded_at)"
        " VALUES ('hr', 'employee', %s, to_timestamp(1700000000), 1, '', 1, 1, now())",
        (name,),
    )
    figures = way_in.ask("/metrics", "reader").text
    assert 'pipeline_table_fresh_as_of_timestamp_seconds{table="hr.employee"} 1.7e+09' in figures
    assert "pipeline_ledger_readable 1.0" in figures
    night.ask("warehouse", "ALTER TABLE ops.watermark RENAME TO gone")
    figures = way_in.ask("/metrics", "reader").text
    assert "pipeline_ledger_readable 0.0" in figures
    assert "luigi_task_last_success_timestamp_seconds{" in figures
    assert successes() == {"test.Task": pytest.approx(done_at, abs=1)}


def certify(own: Served) -> None:
    """Give it a certificate of an authority that the settings name."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(own.folder / "authority.pem"))
    issued = authority.issue_cert("127.0.0.1", "localhost")
    issued.private_key_and_cert_chain_pem.write_to_path(str(own.folder / "scheduler.pem"))
    own.scheme = "https"
    text = own.platform.settings_file.read_text()
    text = text.replace(
        "[visualizer]\n",
        f"[visualizer]\ncertificate = {own.folder}/scheduler.pem\nauthority = {own.folder}/authority.pem\n",
    ).replace("[core]\n", f"[core]\ndefault_scheduler_url = https://127.0.0.1:{own.port}/\n")
    own.platform.settings_file.write_text(text)


@pytest.mark.endurance
def test_with_a_certificate_everything_is_encrypted(shop: Night, own: Served) -> None:
    """On every address: the pages, and a whole run whose workers trust the authority of the settings."""
    certify(own)
    own.options = ("--address", "0.0.0.0")  # noqa: S104 - that it may, with a certificate, is what is tested
    way_in = own.start()
    assert way_in.ask("/metrics", "reader").status_code == 200
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://127.0.0.1:{own.port}/metrics", timeout=30)
    checked = shop.run("check")
    assert "scheduler: ok" in checked.out, checked.out
    run = next_run()
    ended = shop.etl(run)
    assert (ended.code, ended.errors) == (0, [])
    assert [
        task
        for task in way_in.tasks().values()
        if task["params"].get("run") == run and task["status"] == DONE
    ]
    # Whom the settings do not name is not trusted, and gets no password.
    other = trustme.CA()
    other.cert_pem.write_to_path(str(own.folder / "authority.pem"))
    checked = shop.run("check")
    assert "scheduler: nothing answers at https://" in checked.out
    assert "certificate" in checked.out


def test_a_renewed_certificate_is_taken_up(tmp_path: Path) -> None:
    file = tmp_path / "scheduler.pem"
    authority = trustme.CA()
    authority.issue_cert("one.example").private_key_and_cert_chain_pem.write_to_path(str(file))
    encryption = Encryption(file, None)
    file.write_text("half written")
    encryption.renew()
    authority.issue_cert("two.example").private_key_and_cert_chain_pem.write_to_path(str(file))
    os.utime(file, ns=(1, 1))
    encryption.renew()
    assert encryption._seen == [1]
    file.write_text("nothing")
    with pytest.raises(UsageError, match="not a certificate with its key"):
        Encryption(file, None)


@pytest.mark.parametrize("address", ["0.0.0.0", "", "::", "192.0.2.1", "no.such.host.invalid"])  # noqa: S104
def test_it_serves_others_only_encrypted(address: str) -> None:
    told = "is not a valid address to listen on" if "invalid" in address else "would be sent unencrypted"
    with pytest.raises(UsageError, match=told):
        listening.require_private(address, encrypted=False)
    for private in ("127.0.0.1", "127.0.0.2", "::1", "localhost"):
        listening.require_private(private, encrypted=False)


@pytest.mark.parametrize(
    ("pattern", "by", "told"),
    [
        (r"\[visualizer\]\n(.+\n)+", "", "[visualizer]: missing in luigi.cfg"),
        (r"(\[visualizer\]\n)", r"\1key = k\n", "certificate: missing; key = FILE needs it beside it"),
        (r"(\[visualizer\]\n)", r"\1certificate = none.pem\n", "none.pem: is not a certificate with its key"),
        (r"\[visualizer\]", "[visualiser]", "did you mean [visualizer]?"),
    ],
)
def test_settings_that_are_not_safe_are_refused(platform: Platform, pattern: str, by: str, told: str) -> None:
    file = platform.settings_file
    file.write_text(re.sub(pattern, by, file.read_text()))
    with pytest.raises(UsageError, match=re.escape(told)):
        server.serve(settings.read([file]), "127.0.0.1", 9, Path("/none/state"))


@pytest.mark.endurance
def test_what_would_not_be_safe_ends_the_command_with_2(night: Night) -> None:
    ended = night.run("scheduler", "--port", "9", "--address", "0.0.0.0")  # noqa: S104
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("pipeline scheduler: 0.0.0.0: passwords would be sent unencrypted")
    assert len(ended.err.splitlines()) == 1


def test_a_state_that_cannot_be_saved_is_told_at_once() -> None:
    with pytest.raises(UsageError, match="/none: the state cannot be saved there"):
        State(Scheduler(), Path("/none/state")).load()


# Those who work for it.


@pytest.mark.endurance
def test_a_run_goes_on_while_its_password_is_changed(shop: Night, own: Served) -> None:
    own.start()
    run = next_run()
    with shop.platform.connect("shop") as blocker:
        blocker.autocommit = False
        postgres.rows(blocker, "LOCK TABLE purchase IN ACCESS EXCLUSIVE MODE")
        process = shop.start_etl(run)
        query = "SELECT 1 FROM ops.step WHERE run = %s AND name = 'shop.purchase' AND state = 'running'"
        wait_until(lambda: shop.ask("warehouse", query, (run,)), "the extraction has begun")
        new = {**own.door.passwords, "worker": "another one, as long as it has to be"}
        shop.platform.sandbox.vault.write(own.entry, new)
        wait_until(lambda: own.door.ask("/api/is_paused", "worker").status_code == 200, "it is good")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err
    assert shop.differing("shop") == []
    assert new["worker"] not in out + err + own.log


def other_logins(night: Night, passwords: dict[str, str] | None) -> None:
    """Have the settings name an entry of Vault with other passwords than the scheduler's, or none at all."""
    entry = night.platform.database("scheduler")
    if passwords is not None:
        night.platform.sandbox.vault.write(entry, passwords)
    file = night.platform.settings_file
    file.write_text(file.read_text().replace("secret = scheduler\n", f"secret = {entry}\n"))


WRONG = {login: f"the wrong password of the {login}" for login in ("operator", "reader", "worker")}


@pytest.mark.endurance
def test_a_wrong_password_ends_a_run_at_once_and_says_why(hook: Hook, shop: Night) -> None:
    other_logins(shop, WRONG)
    run = next_run()
    ended = shop.etl(run)
    assert ended.code == 5
    assert "refuses the worker's login (HTTP status 401)" in ended.errors[-2]
    assert hook.received() == [("failed", "run/etl")]
    plain = subprocess.run(
        [program("luigi"), "--module", "tasks.etl", "LoadWarehouse", "--run", run],
        env=shop.platform.env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert plain.returncode == 5
    assert "refuses the worker's login" in plain.stderr
    checked = shop.run("check")
    assert "refuses the worker's login" in checked.out
    for said in (ended.err, ended.out, plain.stderr, plain.stdout, checked.out):
        assert WRONG["worker"] not in said
        assert "Traceback" not in said
    assert shop.ask("warehouse", "SELECT name FROM ops.step WHERE run = %s", (run,)) == []


@pytest.mark.endurance
def test_a_password_is_not_sent_over_the_network_unencrypted(shop: Night) -> None:
    file = shop.platform.settings_file
    file.write_text(
        re.sub(r"default-scheduler-host = .*", "default-scheduler-host = 192.0.2.1", file.read_text())
    )
    ended = shop.etl(next_run())
    assert ended.code == 2
    assert "the worker's password is not sent to http://192.0.2.1:" in ended.err
