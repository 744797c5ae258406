"""What is out of reach for long is one line a minute, whoever waits for it."""

import time
import uuid

import luigi.rpc
import pytest
import requests

from pipeline.errors import UnreachableError
from pipeline.sandbox.ports import any_free
from pipeline.vault import renewal
from tasks.worker import client

ATTEMPTS = 5


def test_a_scheduler_that_is_gone_is_one_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="luigi-interface")
    client.install()
    url = f"http://127.0.0.1:{any_free()}/{uuid.uuid4().hex}"
    for _ in range(2):
        scheduler = luigi.rpc.RemoteScheduler(url)
        scheduler._fetcher = client.RequestsFetcher()  # type: ignore[attr-defined, no-untyped-call]
        scheduler._rpc_retry_attempts, scheduler._rpc_retry_wait = ATTEMPTS, 0
        with pytest.raises(luigi.rpc.RPCError):
            scheduler._fetch("/api/ping", {})
    lines = caplog.text.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].endswith(f"the scheduler at {url} does not answer; trying again")
    assert requests.ConnectionError.__name__ not in caplog.text


def test_a_login_that_cannot_be_renewed_is_one_line_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(renewal, "_LEAST_SECONDS", 0.01)
    gone, tries = f"{uuid.uuid4().hex} does not answer", []

    def renew() -> float:
        tries.append(time.monotonic())
        raise UnreachableError(gone)

    with renewal.renewed("the token", 0.5, renew):
        deadline = time.monotonic() + 20
        while "has reached its max_ttl" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.01)
    assert len(tries) > 2
    assert caplog.text.count(gone) == 1
