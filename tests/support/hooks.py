"""A webhook that tests receive alerts with: a real server that can fail, and believes no unsigned body."""

import contextlib
import json
import threading
from collections.abc import Iterator
from datetime import datetime
from http.server import ThreadingHTTPServer
from typing import Any

import jsonschema

from pipeline.alerts import Alert, schema, webhook
from pipeline.sandbox.servers.webhooks import Catcher, Faults
from tests.support.platforms import Platform

KEY = "the key that signs the alerts of this test"


class Hook:
    """One test's webhook. It is up at first."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.faults = Faults()
        self.secret = f"alerts-{platform.prefix}"
        self._file = platform.folder / "webhooks.jsonl"
        own = {"file": self._file, "faults": self.faults, "log_message": lambda *_: None, "hmac_key": KEY}
        self._catcher = type("OwnCatcher", (Catcher,), own)
        self._server: ThreadingHTTPServer | None = None
        self._port = 0
        self.up()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/hook/of-{self.platform.prefix}"

    def up(self) -> None:
        """Listen, at the same port as before."""
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), self._catcher)
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def down(self) -> None:
        """Be gone: connections are refused."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def fail(self, kind: str, *, times: int = 1_000_000, **more: Any) -> None:
        """Let the next requests fail, as `Faults` says."""
        self.faults.set({"kind": kind, "times": times, **more})

    def work(self) -> None:
        """Fail no longer."""
        self.faults.set({})

    def requests(self) -> list[dict[str, Any]]:
        """Return everything that came, with its headers."""
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        return [json.loads(line) for line in lines]

    def alerts(self, key: str | None = None) -> list[Alert]:
        """Return the alerts that came, or those of a key; each is signed and of the published form."""
        found = []
        for one in self.requests():
            if one["method"] != "POST":
                continue
            came_at = datetime.fromisoformat(one["at"]).timestamp()
            signed = one["headers"][webhook.SIGNATURE_HEADER]
            assert webhook.is_signed(KEY, one["raw"].encode(), signed, came_at), one
            jsonschema.validate(one["body"], schema.schema())
            alert = Alert.model_validate(one["body"])
            assert one["headers"][webhook.ID_HEADER] == alert.id
            found.append(alert)
        return [alert for alert in found if key in (None, alert.key)]

    def received(self) -> list[tuple[str, str]]:
        """Return kind and key of all that came, in their order."""
        return [(alert.kind, alert.key) for alert in self.alerts()]


@contextlib.contextmanager
def hook_of(platform: Platform) -> Iterator[Hook]:
    """Make a webhook for one test, and remove it afterwards."""
    hook = Hook(platform)
    platform.sandbox.vault.write(hook.secret, {"url": hook.url, "hmac_key": KEY})
    platform.alerts["secret"] = hook.secret
    platform.write_settings()
    try:
        yield hook
    finally:
        hook.work()
        hook.down()
        platform.sandbox.vault.remove(hook.secret)
