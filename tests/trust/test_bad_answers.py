"""Whatever a server answers, it is told in one sentence that names the server; nothing is a bug of ours."""

import re
from collections.abc import Callable

import pytest

from pipeline import access, bounded_http, dashboards, postgres, retry, settings, vault
from pipeline.alerts import webhook
from pipeline.backup.store import backups
from pipeline.bucket import bucket
from pipeline.bucket import connection as b2
from pipeline.errors import PipelineError, StepError, UnreachableError, understood
from pipeline.metabase import client as metabase
from pipeline.scheduler import visualizer
from pipeline.settings import Settings
from pipeline.vault import request as vault_request
from pipeline.vault import transit
from tasks.worker import client
from tests.dashboards.surfaces import CATALOG, surface_of
from tests.support import garbled
from tests.support.archive import SMALL, Archive
from tests.support.garbled import Answer, Spoil, Stream, garbling
from tests.support.metabase import running
from tests.support.night import Night
from tests.support.platforms import Platform
from tests.support.restores import Restores
from tests.support.schedulers import door

# So many spoilt answers of each server each time, and so many by bin/test --all.
QUICK, ENDURANCE = 8, 400


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try nothing again: what does not pass is what is looked at."""
    monkeypatch.setattr(retry.Attempts, "wait", lambda *_: False)


Ask = Callable[[str], object]


def told(ask: Ask, upstream: str, spoil: Spoil, what: str, names: str) -> list[str]:
    """Return what is wrong with how it ends: anything but an error of ours that names the server."""
    with garbling(upstream, spoil) as url:
        try:
            ask(url)
        except PipelineError as error:
            text = str(error)
            if names not in text or error.exit_code == 1 or len(text) > 2000 or "Traceback" in text:
                return [f"{what}: {type(error).__name__}: {text[:300]}"]
        except Exception as error:  # noqa: BLE001 - which is what this looks for
            return [f"{what}: a bug: {error!r}"]
    return []


def tried(ask: Ask, upstream: str, names: str, *, seeds: range, lenient: bool = False) -> list[str]:
    """Return what is wrong after all whole answers that are none, and of those that are spoilt by a seed."""
    if not lenient:
        ask(upstream)  # it is as it should be
    # The quick ones are one after the other at the first answers; in depth each is tried at each.
    several = len(seeds) > QUICK
    wrong = [
        one
        for number, kind in enumerate(garbled.WHOLE)
        for after in ((0, 1, 2, 3) if several else (number // 2 % 3,))
        if several or number % 2 == 0
        for one in told(ask, upstream, garbled.whole(kind, after), f"{kind}, after {after}", names)
    ]
    for seed in seeds:
        wrong += told(ask, upstream, garbled.mutated(seed), f"seed {seed}", names)
    assert "\n".join(wrong) == ""
    return wrong


def of_vault(settings: Settings) -> Ask:
    def ask(url: str) -> None:
        with vault.session(settings.vault.model_copy(update={"url": url})) as opened:
            for declared in settings.sources.values():
                with opened.database_uri(declared):
                    pass
            opened.transit.public_keys("shop")

    return ask


def of_b2(settings: Settings) -> Ask:
    def ask(url: str) -> None:
        changed = settings.require_backup().model_copy(update={"realm": url})
        there = settings.model_copy(update={"backup": changed})
        with access.opened(there) as databases, backups.reading(databases) as bucket:
            backups.find(bucket, there, "shop")
        with access.opened(there) as databases, databases.bucket(str(changed.audit_secret)) as bucket:
            bucket.inspect()

    return ask


def at(settings: Settings, url: str) -> Settings:
    """Return settings with Metabase elsewhere."""
    assert settings.metabase is not None
    return settings.model_copy(update={"metabase": settings.metabase.model_copy(update={"url": url})})


def of_the_webhook(url: str) -> None:
    webhook.post(url, b"{}", hmac_key="k", message_id="1")
    webhook.ping(url)


# An answer has so long, and may be so large, where a test waits for the limit.
SECONDS, BYTES = 0.5, 1024 * 1024
# What a server could send before we ended it: the rest lies in the buffers of the two sockets.
BUFFERED_BYTES = 32 * 1024 * 1024
WORDS = {
    "a slow": r"no (whole )?answer within 0\.5 s",
    "large": r"an answer of more than 1 MiB|headers of more than 256 KiB",
}


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set each limit of an answer so low that a test need not wait for it."""
    monkeypatch.setattr(bounded_http, "ANSWER_BYTES", BYTES)
    monkeypatch.setattr(metabase, "ANSWER_BYTES", BYTES)
    for module in (vault_request, metabase, webhook):
        monkeypatch.setattr(module, "READ_TIMEOUT_SECONDS", SECONDS)
    monkeypatch.setattr(visualizer, "TIMEOUT_SECONDS", SECONDS)
    monkeypatch.setattr(b2.OneTry, "TIMEOUT_FOR_UPLOAD", SECONDS)
    brief = retry.RetryPolicy(answer_seconds=SECONDS)
    monkeypatch.setattr(bucket, "RetryPolicy", lambda: brief)


def ended(ask: Ask, upstream: str, names: str, *, requests: int = 3, left_out: str = "") -> None:
    """Require that an answer without end is ended at its limit, and that one sentence says whose it was.

    It comes in place of each of the first so many requests.
    """
    wrong = []
    for kinds, words in ((garbled.SLOW, WORDS["a slow"]), (garbled.HUGE, WORDS["large"])):
        for number, (kind, made) in enumerate(kinds.items()):
            if left_out and re.search(left_out, kind):
                continue
            stream = made()
            with garbling(upstream, garbled.unending(stream, number % requests)) as url:
                said, code = "", 0
                try:
                    ask(url)
                except PipelineError as error:
                    said, code = str(error), error.exit_code
            if code not in (3, 5) or names not in said or not re.search(words, said) or len(said) > 1000:
                wrong.append(f"{kind}: {said[:400]}")
            if stream.sent > BYTES + BUFFERED_BYTES:
                wrong.append(f"{kind}: {stream.sent} bytes were taken")
    assert wrong == []


@pytest.fixture
def stored(restores: Restores) -> Archive:
    """A database that is loaded and backed up."""
    restores.source("shop", SMALL)
    return restores.archive


@pytest.mark.parametrize("number", [QUICK, pytest.param(ENDURANCE, marks=pytest.mark.endurance)])
def test_whatever_vault_answers_is_told(stored: Archive, number: int) -> None:
    upstream = stored.platform.sandbox.env["VAULT_ADDR"]
    assert tried(of_vault(stored.settings), upstream, "127.0.0.1", seeds=range(number)) == []


@pytest.mark.parametrize("number", [QUICK, pytest.param(ENDURANCE, marks=pytest.mark.endurance)])
def test_whatever_b2_answers_is_told(stored: Archive, number: int) -> None:
    upstream = str(stored.settings.require_backup().realm)
    assert tried(of_b2(stored.settings), upstream, "bucket", seeds=range(number)) == []


def test_whatever_a_webhook_answers_is_told() -> None:
    with running() as upstream:
        assert tried(of_the_webhook, upstream.url, "the webhook", seeds=range(0), lenient=True) == []


def test_whatever_the_scheduler_answers_is_told(platform: Platform) -> None:
    configured = settings.read([platform.settings_file])

    def ask(url: str) -> None:
        if found := visualizer.problems(configured, url):
            raise StepError("; ".join(found))

    assert tried(ask, door(platform).url, "127.0.0.1", seeds=range(0)) == []


@pytest.mark.parametrize("number", [QUICK, pytest.param(ENDURANCE, marks=pytest.mark.endurance)])
def test_whatever_metabase_answers_is_told(night: Night, number: int) -> None:
    with running() as upstream, surface_of(night, upstream) as surface:
        surface.apply()
        settings = surface.settings

        def ask(url: str) -> None:
            dashboards.plan(at(settings, url), CATALOG, surface.declared)

        assert tried(ask, upstream.url, "Metabase", seeds=range(number)) == []


@pytest.mark.usefixtures("strict")
def test_what_vault_does_not_end_is_ended(stored: Archive) -> None:
    ended(of_vault(stored.settings), stored.platform.sandbox.env["VAULT_ADDR"], "127.0.0.1")


@pytest.mark.usefixtures("strict")
def test_what_b2_does_not_end_is_ended(stored: Archive) -> None:
    """What is packed is never unpacked, as the SDK would have it."""
    ended(of_b2(stored.settings), str(stored.settings.require_backup().realm), "bucket", left_out="packed")


def test_an_object_that_goes_on_behind_its_end_is_ended(stored: Archive) -> None:
    """It is handed on piece by piece: into memory, or onto a disk."""
    content = b"x" * 1000
    backup = stored.settings.require_backup()
    with access.opened(stored.settings) as databases, databases.bucket(backup.secret) as opened:
        opened.write_small("shop/endless", content, content_type="text/plain")
    stream = garbled.longer(len(content))

    def spoil(path: str, answer: Answer) -> Answer | Stream:
        return stream if "download" in path else answer

    taken: list[bytes] = []
    with garbling(str(backup.realm), spoil) as url:
        there = stored.settings.model_copy(update={"backup": backup.model_copy(update={"realm": url})})
        with (
            access.opened(there) as databases,
            backups.reading(databases) as opened,
            pytest.raises(UnreachableError, match=r"bucket .*shop/endless: the connection was lost"),
        ):
            opened.read("shop/endless", taken.append)
    assert sum(map(len, taken)) <= len(content)
    assert stream.sent < stream.most_bytes


@pytest.mark.usefixtures("strict")
def test_what_a_webhook_does_not_end_is_ended() -> None:
    """Its body is not read at all."""
    with running() as upstream:
        ended(of_the_webhook, upstream.url, "the webhook", requests=1, left_out="body|pieces|error|JSON")


@pytest.mark.usefixtures("strict")
def test_what_metabase_does_not_end_is_ended(night: Night) -> None:
    with running() as upstream, surface_of(night, upstream) as surface:
        surface.apply()
        assert surface.settings.metabase is not None

        def ask(url: str) -> None:
            dashboards.plan(at(surface.settings, url), CATALOG, surface.declared)

        ended(ask, upstream.url, "Metabase")


@pytest.mark.usefixtures("strict")
def test_what_the_scheduler_does_not_end_is_ended(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured = settings.read([platform.settings_file])
    monkeypatch.setattr(client, "_configured", lambda: configured)

    def ask(url: str) -> None:
        if found := visualizer.problems(configured, url):
            raise StepError("; ".join(found))

    def ask_as_luigi(url: str) -> None:
        if found := client.obstacle(url):
            raise StepError(found)

    ended(ask, door(platform).url, "127.0.0.1", requests=2)
    ended(ask_as_luigi, door(platform).url, "127.0.0.1", requests=1)


def test_where_an_answer_does_not_fit_is_told_with_the_line_of_ours_too() -> None:
    """A library's line alone says of no call of ours, which may be what is wrong."""
    with (
        pytest.raises(
            UnreachableError, match=r"^it is odd \(TypeError, sql\.py:\d+ from statements\.py:\d+\); ask$"
        ),
        understood("it is odd", "ask"),
    ):
        postgres.identifier(1)  # type: ignore[arg-type]
    with (
        pytest.raises(UnreachableError, match=r"^it is odd \(KeyError 'keys', transit\.py:\d+\); ask$"),
        understood("it is odd", "ask"),
    ):
        transit.public_keys({"type": transit.TYPE})
