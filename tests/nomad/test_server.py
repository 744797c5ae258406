"""Calls to Nomad's servers, as Nomad's own program makes them with the same environment."""

import json
import ssl
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import trustme

from pipeline.errors import UnreachableError
from pipeline.nomad import server
from tests.support import recording

# Nomad's certificates are made for such a name: role, region, nomad.
NAME = "server.global.nomad"
asked: list[tuple[str, str | None]] = []


class Handler(BaseHTTPRequestHandler):
    """Answers with an empty list."""

    def do_GET(self) -> None:
        asked.append((self.path, self.headers["X-Nomad-Token"]))
        answer = json.dumps([]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def nomad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Nomad behind TLS that wants a certificate of who asks; the environment names it."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    ours = authority.issue_cert("cli.global.nomad")
    ours.cert_chain_pems[0].write_to_path(str(tmp_path / "cli.pem"))
    ours.private_key_pem.write_to_path(str(tmp_path / "cli.key"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tmp_path / "ca.pem"))
    context.verify_mode = ssl.CERT_REQUIRED
    authority.issue_cert(NAME).configure_cert(context)
    made = HTTPServer(("127.0.0.1", 0), Handler)
    made.socket = context.wrap_socket(made.socket, server_side=True)
    Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
    asked.clear()
    monkeypatch.setenv("NOMAD_ADDR", f"https://127.0.0.1:{made.server_port}")
    monkeypatch.setenv("NOMAD_TOKEN", "a token of the person who types")
    monkeypatch.setenv("NOMAD_CACERT", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("NOMAD_CLIENT_CERT", str(tmp_path / "cli.pem"))
    monkeypatch.setenv("NOMAD_CLIENT_KEY", str(tmp_path / "cli.key"))
    monkeypatch.setenv("NOMAD_TLS_SERVER_NAME", NAME)
    yield f"https://127.0.0.1:{made.server_port}"
    made.shutdown()
    made.server_close()


def test_certificates_name_and_namespace_are_those_of_nomads_own_program(
    nomad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOMAD_NAMESPACE", "school")
    assert server.nomad().get("jobs?prefix=pipeline-") == []
    assert asked == [("/v1/jobs?prefix=pipeline-&namespace=school", "a token of the person who types")]
    assert nomad


@pytest.mark.parametrize("missing", ["NOMAD_CACERT", "NOMAD_CLIENT_CERT", "NOMAD_TLS_SERVER_NAME"])
def test_a_server_that_is_another_or_wants_to_know_us_does_not_get_the_token(
    nomad: str, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(missing)
    with pytest.raises(UnreachableError, match=rf"Nomad at {nomad} does not answer"):
        server.nomad().get("jobs")
    assert asked == []


def test_what_is_no_vault_is_told() -> None:
    class Own(recording.Handler):
        def do_GET(self) -> None:  # noqa: N802 - its own name
            self.answer(200, b"<html>", {})

    with recording.serving(Own) as port, pytest.raises(UnreachableError, match="does not answer like Vault"):
        server.vault(f"http://127.0.0.1:{port}", "t").get("sys/mounts")
