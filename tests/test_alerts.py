"""Alerts: each is told once, none is lost, whatever fails on the way; no credential is in one."""

import json
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest

from pipeline import alerts, log, redact, settings
from pipeline.access import Access
from pipeline.alerts import Alert, forms, notifier, schema, webhook
from pipeline.alerts import spool as spool_module
from pipeline.alerts.sender import Sender
from pipeline.alerts.spool import Spool
from pipeline.errors import UnreachableError
from pipeline.settings import Settings
from pipeline.settings.values import alert_forms
from tests.support.hooks import KEY, Hook
from tests.support.night import Night, wait_until
from tests.support.vaults import Server, server

__all__ = ["server"]

PROJECT = Path(__file__).parents[1]
TELL = """
import sys
from pipeline import alerts, settings
alerts.send(settings.read(), alerts.Alert(key=sys.argv[1], kind="failed", summary="it failed"))
"""
SEND = "from pipeline import alerts, settings; alerts.send_spooled(settings.read())"


def failed(key: str = "etl/shop.item", **more: Any) -> Alert:
    return Alert.model_validate({"key": key, "kind": "failed", "summary": f"{key} failed", **more})


def configured(hook: Hook) -> Settings:
    return settings.read([hook.platform.settings_file])


def spool(hook: Hook) -> Spool:
    return Spool(configured(hook).require_alerts().spool)


def impatient(hook: Hook) -> None:
    """Let what was out of reach be tried again at once."""
    spool(hook).hush(quiet=False)


def python(hook: Hook, code: str, *arguments: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", code, *arguments], env=hook.platform.env)


# What is told.


def test_an_alert_is_told_once_and_its_recovery_once(hook: Hook) -> None:
    """However often it fails until then; and after that a new failure is a new message."""
    own = configured(hook)
    alerts.send_recovery(own, "etl/shop.item", "nothing was told, so nothing is told of its end")
    for _ in range(3):
        alerts.send(own, failed())
    assert hook.received() == [("failed", "etl/shop.item")]
    assert [alert.key for alert in alerts.open_alerts(own)] == ["etl/shop.item"]
    for _ in range(2):
        alerts.send_recovery(own, "etl/shop.item", "it is loaded")
    alerts.send(own, failed())
    told = hook.alerts()
    assert [alert.kind for alert in told] == ["failed", "recovered", "failed"]
    assert told[1].since == told[0].since
    assert len({alert.id for alert in told}) == 3


def test_all_that_is_known_is_told(hook: Hook) -> None:
    """Where, since when, the error on one line, what to type, and where to look."""
    alert = failed(
        error="no\nconnection",
        run="2026-11-22",
        task="ExtractTable",
        host="node-1",
        since="2026-11-22T03:15:00+01:00",
        command="pipeline run etl",
        task_url="https://luigi.example.org/static/visualiser/index.html#search__search=item",
        log_url="https://luigi.example.org/log/2026-11-22/x",
    )
    alerts.send(configured(hook), alert)
    (told,) = hook.alerts()
    assert told == alert
    (request,) = hook.requests()
    assert request["body"]["error"] == "no connection"
    assert request["body"]["since"] == "2026-11-22T02:15:00Z"
    assert request["body"]["command"] == "pipeline run etl"


def test_what_got_worse_is_told_though_it_was_warned_of(hook: Hook) -> None:
    own = configured(hook)
    for kind in ("warning", "failed", "warning", "stale"):
        alerts.send(own, failed(kind=kind))
    assert [kind for kind, _ in hook.received()] == ["warning", "failed"]


def test_with_a_grace_period_only_what_lasts_is_told(hook: Hook) -> None:
    """A second failure is told at once; what recovers before was never told, and so its end is not either."""
    own = configured(hook)
    alerts.send(own, failed("a"), grace_seconds=60)
    alerts.send(own, failed("b"), grace_seconds=60)
    assert hook.received() == []
    alerts.send(own, failed("c"), grace_seconds=0.3)
    alerts.send_recovery(own, "a", "the second try did it")
    alerts.send(own, failed("b", error="now it is known why"), grace_seconds=60)
    wait_until(lambda: alerts.send_spooled(own) == 0 and len(hook.received()) == 2, "b, and c in its time")
    assert sorted(hook.received()) == [("failed", "b"), ("failed", "c")]
    assert hook.alerts("b")[0].error == "now it is known why"


def test_a_step_that_went_well_ends_what_was_told_of_itself_only(hook: Hook) -> None:
    own = configured(hook)
    alerts.send(own, failed(task="ValidateExtract"))
    alerts.send_recovery(own, "etl/shop.item", "extracted", task="ExtractTable")
    assert [kind for kind, _ in hook.received()] == ["failed"]
    alerts.send_recovery(own, "etl/shop.item", "validated", task="ValidateExtract")
    assert [kind for kind, _ in hook.received()] == ["failed", "recovered"]


def test_what_is_not_found_any_more_is_over(hook: Hook) -> None:
    own = configured(hook)
    alerts.send(own, failed("etl/shop.other/x"))
    first = [failed("etl/shop.item/a", kind="warning"), failed("etl/shop.item/b", kind="warning")]
    alerts.reconcile(own, "etl/shop.item/", first)
    alerts.reconcile(own, "etl/shop.item/", first[1:])
    assert [kind for kind, _ in hook.received()] == ["failed", "warning", "warning", "recovered"]
    assert hook.received()[-1] == ("recovered", "etl/shop.item/a")


def test_the_form_that_slack_takes(hook: Hook) -> None:
    """A text in which nothing can call people or name a link but we."""
    hook.platform.alerts["form"] = "slack"
    hook.platform.write_settings()
    alert = failed(error="<!channel> & more", command="pipeline run etl", task_url="https://l.example.org/#a")
    alerts.send(configured(hook), alert)
    (request,) = hook.requests()
    assert list(request["body"]) == ["text"]
    text = request["body"]["text"]
    assert "*failed* etl/shop.item failed" in text
    assert "&lt;!channel&gt; &amp; more" in text
    assert "`pipeline run etl`" in text
    assert "<https://l.example.org/#a|task>" in text


def test_the_card_that_teams_takes(hook: Hook) -> None:
    """Its texts stand where no markup is read; what can be opened is a button."""
    hook.platform.alerts["form"] = "teams"
    hook.platform.write_settings()
    alert = failed(
        error="[x](https://a) **b** <at>", command="pipeline run etl", log_url="https://l.example.org/a"
    )
    alerts.send(configured(hook), alert)
    (request,) = hook.requests()
    assert request["body"]["type"] == "message"
    (attachment,) = request["body"]["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    card = attachment["content"]
    assert {block["type"] for block in card["body"]} == {"RichTextBlock"}
    texts = ["".join(run["text"] for run in block["inlines"]) for block in card["body"]]
    assert texts[:2] == ["failed etl/shop.item failed", "[x](https://a) **b** <at>"]
    assert texts[-1] == "pipeline run etl"
    assert [(one["title"], one["url"]) for one in card["actions"]] == [("Log", "https://l.example.org/a")]
    assert "failed: etl/shop.item failed" in card["fallbackText"]


@pytest.mark.parametrize("form", alert_forms())
def test_every_form_says_what_happened_to_what_and_what_to_type(form: str) -> None:
    alert = failed(command="pipeline run etl", hint="make room")
    sent = forms.body(alert, form)
    if sent.startswith(b"{"):
        json.loads(sent)
    for said in (alert.kind, alert.summary, alert.key, "pipeline run etl", "make room", alert.host):
        assert said in sent.decode()


def test_without_the_section_nothing_is_sent_and_that_is_said_once(
    hook: Hook, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = configured(hook).model_copy(update={"alerts": None})
    monkeypatch.delenv(log.WARNED, raising=False)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            alerts.send(own, failed())
            alerts.send_recovery(own, "etl/shop.item", "it is well")
            assert alerts.send_spooled(own) == 0
    assert [record.getMessage() for record in caplog.records] == [
        "luigi.cfg has no [alerts]: no alert is sent when something fails"
    ]
    assert hook.requests() == []


def test_the_published_schema_is_current() -> None:
    """Run `python -m pipeline.alerts.schema > docs/alert.schema.json` after a change of the model."""
    assert (PROJECT / "docs" / "alert.schema.json").read_text() == schema.schema_text()
    jsonschema.Draft202012Validator.check_schema(schema.schema())
    for name, said in schema.schema()["properties"].items():
        assert said.get("description"), name


# What fails on the way.


def test_while_the_webhook_is_down_alerts_are_kept_and_sent_later_in_their_order(hook: Hook) -> None:
    own = configured(hook)
    hook.down()
    alerts.send(own, failed("a"))
    alerts.send(own, failed("b"))
    alerts.send_recovery(own, "a", "it is well")
    assert alerts.send_spooled(own) == 3
    hook.up()
    assert alerts.send_spooled(own) == 0
    assert hook.received() == [("failed", "a"), ("failed", "b"), ("recovered", "a")]
    assert alerts.send_spooled(own) == 0
    assert len(hook.received()) == 3


def test_what_was_kept_by_a_clock_that_has_been_set_back_since_is_sent_all_the_same(
    hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lay there until the wrong clock's time came, and watch said that nothing is unsent."""
    own = configured(hook)
    hook.down()
    fast = SimpleNamespace(time=lambda: time.time() + 86_400, monotonic=time.monotonic, sleep=time.sleep)
    with monkeypatch.context() as patched:
        patched.setattr(spool_module, "time", fast)
        alerts.send(own, failed("a"))
        alerts.send(own, failed("b"), grace_seconds=60)
    alerts.send_recovery(own, "a", "it is well")
    assert len(spool(hook).due()) == 3
    hook.up()
    assert alerts.send_spooled(own) == 0
    assert hook.received() == [("failed", "a"), ("recovered", "a"), ("failed", "b")]


@pytest.mark.endurance
@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 503},
        {"kind": "status", "status": 429},
        {"kind": "status", "status": 404},
        {"kind": "status", "status": 302},
        {"kind": "reset"},
        {"kind": "hang"},
    ],
    ids=lambda fault: str(fault.get("status", fault["kind"])),
)
def test_an_alert_that_the_webhook_does_not_take_is_kept(
    hook: Hook, fault: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """What is logged of it does not tell the address, which for most services is a credential."""
    own = configured(hook)
    hook.fail(**fault)
    with caplog.at_level(logging.INFO):
        alerts.send(own, failed())
    assert hook.received() == []
    assert [alert.key for alert in spool(hook).unsent()] == ["etl/shop.item"]
    hook.work()
    wait_until(lambda: alerts.send_spooled(own) == 0, "it is sent")
    assert hook.received() == [("failed", "etl/shop.item")]
    assert hook.url not in caplog.text
    assert "of-" + hook.platform.prefix not in caplog.text


def test_a_message_that_is_refused_stops_no_other(hook: Hook) -> None:
    own = configured(hook)
    hook.fail("status", status=400, times=2)
    alerts.send(own, failed("a"))
    alerts.send(own, failed("b"))
    assert hook.received() == [("failed", "b")]
    assert alerts.send_spooled(own) == 0
    assert hook.received() == [("failed", "b"), ("failed", "a")]


def test_a_message_that_is_refused_is_not_sent_again_and_again_by_the_same_sender(
    hook: Hook, caplog: pytest.LogCaptureFixture
) -> None:
    """Who tends the spool for weeks looks into it every other second."""
    own = configured(hook)
    hook.fail("status", status=400)
    alerts.send(own, failed("a"))
    sender = Sender(own, own.require_alerts())
    for _ in range(3):
        sender.deliver(1)
    # By `send`, and by the sender.
    assert caplog.text.count("the webhook refused the message with 400") == 2
    hook.work()
    assert alerts.send_spooled(own) == 0


def test_that_an_earlier_run_is_done_ends_nothing_of_a_later_one(hook: Hook) -> None:
    own = configured(hook)
    alerts.send(own, failed("run/etl", run="2026-11-23"))
    alerts.send_recovery(own, "run/etl", "done", run="2026-11-22")
    assert [kind for kind, _ in hook.received()] == ["failed"]
    alerts.send_recovery(own, "run/etl", "done", run="2026-11-23T1430")
    assert [kind for kind, _ in hook.received()] == ["failed", "recovered"]


def test_a_message_whose_answer_is_lost_is_sent_again_under_the_same_id(hook: Hook) -> None:
    """As when the sender is killed between sending and noting that: the receiver can tell."""
    own = configured(hook)
    hook.fail("unanswered", times=1)
    alerts.send(own, failed())
    assert alerts.send_spooled(own) == 0
    first, second = hook.alerts()
    assert first == second


def test_processes_that_tell_of_the_same_thing_at_once_tell_it_once(hook: Hook) -> None:
    started = [python(hook, TELL, key) for key in ("a", "b") for _ in range(3)]
    assert [process.wait(60) for process in started] == [0] * 6
    assert sorted(hook.received()) == [("failed", "a"), ("failed", "b")]


def test_processes_that_send_the_same_spool_at_once_send_each_alert_once(hook: Hook) -> None:
    own = configured(hook)
    hook.down()
    keys = [f"thing {number}" for number in range(12)]
    for key in keys:
        alerts.keep(own, failed(key))
    hook.up()
    started = [python(hook, SEND) for _ in range(4)]
    assert [process.wait(60) for process in started] == [0] * 4
    assert [key for _, key in hook.received()] == keys


def test_a_process_that_is_forked_meanwhile_keeps_nobody_from_sending(hook: Hook) -> None:
    """Luigi forks its tasks from a worker that may be sending; a task goes on for hours."""
    own = configured(hook)
    spooled = spool(hook)
    alerts.keep(own, failed())
    read, write = os.pipe()
    with spooled.sending(0.0) as ours:
        assert ours
        child = os.fork()
        if child == 0:
            os.close(write)
            os.read(read, 1)
            os._exit(0)
    try:
        assert alerts.send_spooled(own) == 0
        assert hook.received() == [("failed", "etl/shop.item")]
    finally:
        os.close(write)
        os.close(read)
        os.waitpid(child, 0)


def test_where_nothing_can_be_kept_it_is_sent_all_the_same(hook: Hook) -> None:
    """A full disk, or a folder that belongs to somebody else, is one more thing to tell of."""
    configured(hook).require_alerts().spool.write_text("in the way")
    own = configured(hook)
    alerts.send(own, failed())
    assert hook.received() == [("failed", "etl/shop.item")]
    alerts.send_recovery(own, "etl/shop.item", "it is well")
    assert alerts.open_alerts(own) == []


def test_what_a_later_version_wrote_is_put_aside_and_stops_nobody(
    hook: Hook, caplog: pytest.LogCaptureFixture
) -> None:
    own = configured(hook)
    alerts.keep(own, failed("a"))
    (path,) = spool(hook).due()
    path.write_text('{"version": 2}')
    alerts.send(own, failed("b"))
    assert hook.received() == [("failed", "b")]
    assert path.with_name(path.name + ".unreadable").exists()
    assert "not an alert that this version can read" in caplog.text


def test_the_spool_is_private(hook: Hook) -> None:
    own = configured(hook)
    hook.down()
    alerts.send(own, failed())
    for path in [own.require_alerts().spool, *own.require_alerts().spool.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


# Vault.


@pytest.fixture
def sealable(hook: Hook, server: Server) -> Iterator[Server]:
    """A Vault that this test may seal, which has the webhook's address."""
    login = server.approle()
    server.write(hook.secret, url=hook.url, hmac_key=KEY)
    own = settings.read([hook.platform.settings_file]).vault
    text = hook.platform.settings_file.read_text()
    for before, after in (
        (f"url = {own.url}", f"url = {login.url}"),
        (f"role = {own.role}", f"role = {login.role}"),
        (f"credential_file = {own.credential_file}", f"credential_file = {login.credential_file}"),
    ):
        assert before in text
        text = text.replace(before, after)
    hook.platform.settings_file.write_text(text)
    yield server
    unseal(server)


def seal(server: Server) -> None:
    server.admin.sys.seal()


def unseal(server: Server) -> None:
    server.admin.sys.submit_unseal_key(server.unseal_key)
    wait_until(lambda: not server.admin.sys.is_sealed(), "the unsealed Vault")


def test_while_vault_is_sealed_alerts_are_kept(hook: Hook, sealable: Server) -> None:
    """The webhook's address is in it."""
    own = configured(hook)
    seal(sealable)
    alerts.send(own, failed())
    assert alerts.send_spooled(own) == 1
    assert hook.received() == []
    unseal(sealable)
    assert alerts.send_spooled(own) == 0
    assert hook.received() == [("failed", "etl/shop.item")]


@pytest.mark.endurance
def test_who_knew_the_address_before_tells_of_a_sealed_vault(hook: Hook, sealable: Server) -> None:
    """So do the scheduler, and a run that has begun."""
    own = configured(hook)
    alerts.send(own, failed("before"))
    with alerts.sending(own):
        wait_until(hook.received, "the address is known")
        alerts.keep(own, failed("once more"))
        wait_until(lambda: len(hook.received()) == 2, "the address is remembered")
        seal(sealable)
        alerts.keep(own, failed("sealed"))
        wait_until(lambda: ("failed", "sealed") in hook.received(), "it is told")


def test_who_tends_the_spool_goes_on_after_a_bug(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scheduler tends it for weeks."""
    own, ask, failures = configured(hook), Sender.ask, [ValueError("at its start"), ValueError("later")]

    def failing_twice(self: Sender, databases: Access) -> Any:
        if failures:
            raise failures.pop(0)
        return ask(self, databases)

    monkeypatch.setattr(Sender, "ask", failing_twice)
    monkeypatch.setattr(notifier, "POLL_SECONDS", 0.01)
    with alerts.sending(own):
        alerts.keep(own, failed("after it"))
        wait_until(lambda: ("failed", "after it") in hook.received(), "it is told")
    assert failures == []


# What is never in one.


def test_no_credential_is_in_an_alert_or_in_the_spool(hook: Hook) -> None:
    redact.register("quite-secret-word")
    hook.down()
    own = configured(hook)
    told = failed(error="password quite-secret-word is wrong", command="pipeline quite-secret-word")
    alerts.send(own, told)
    alerts.send_recovery(own, "etl/shop.item", "with quite-secret-word it went")
    hook.up()
    files = [path for path in own.require_alerts().spool.rglob("*") if path.is_file()]
    assert files
    for path in files:
        text = path.read_text()
        assert "quite-secret-word" not in text
        assert KEY not in text
        assert hook.url not in text
    assert alerts.send_spooled(own) == 0
    assert [alert.error for alert in hook.alerts()] == ["password [redacted] is wrong", None]


def test_a_signature_is_for_one_body_one_key_and_a_few_minutes() -> None:
    signed = webhook.signature("key", b"{}", 1_700_000_000)
    assert webhook.is_signed("key", b"{}", signed, 1_700_000_100)
    assert not webhook.is_signed("key", b"{ }", signed, 1_700_000_100)
    assert not webhook.is_signed("other", b"{}", signed, 1_700_000_100)
    assert not webhook.is_signed("key", b"{}", signed, 1_700_000_400)
    assert not webhook.is_signed("key", b"{}", "", 1_700_000_000)
    assert not webhook.is_signed("key", b"{}", signed.replace("v1=", "v1=é"), 1_700_000_100)


# The warehouse.


def test_the_warehouse_has_what_was_told_and_what_could_not_be(hook: Hook, night: Night) -> None:
    own = night.settings
    alerts.send(own, failed("a", run="2026-11-22"))
    hook.fail("status", status=503)
    alerts.send(own, failed("b"))
    query = "SELECT key, kind, run, sent_at IS NOT NULL FROM ops.alert ORDER BY told_at"
    assert night.ask("warehouse", query) == [
        ("a", "failed", "2026-11-22", True),
        ("b", "failed", None, False),
    ]
    hook.work()
    assert alerts.send_spooled(own) == 0
    assert night.ask("warehouse", query)[1] == ("b", "failed", None, True)


def test_a_warehouse_that_is_away_keeps_nothing_from_being_told(hook: Hook) -> None:
    vault = hook.platform.sandbox.vault
    name = hook.platform.database("warehouse")
    uri = (vault.read(name) or {})["uri"]
    vault.write(name, {"uri": uri.rpartition(":")[0] + ":1/nowhere"})
    alerts.send(configured(hook), failed())
    assert hook.received() == [("failed", "etl/shop.item")]
    assert json.loads(hook.requests()[0]["raw"])["key"] == "etl/shop.item"


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_an_alert_of_a_machine_whose_clock_is_off_is_signed_by_the_clock_of_who_refuses_it(
    hook: Hook, seconds: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever receives it refuses what seems to be old: it would stay in the spool for ever."""
    monkeypatch.setattr(webhook, "time", SimpleNamespace(time=lambda: time.time() + seconds))
    webhook.post(hook.url, b"{}", hmac_key=KEY, message_id="1")
    (came,) = hook.requests()
    assert came["headers"][webhook.ID_HEADER] == "1"
    assert re.search(r"clock is 3[56]\d\d seconds off that of the webhook", caplog.text)
    # Another key is refused, whatever the time.
    with pytest.raises(UnreachableError, match="401"):
        webhook.post(hook.url, b"{}", hmac_key="another", message_id="2")
