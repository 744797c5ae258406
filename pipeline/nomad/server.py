"""Calls to the servers of Vault and Nomad, with the token of the person who types."""

import os
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import requests

from pipeline import bounded_http, redact
from pipeline.bounded_http import BoundedAdapter
from pipeline.errors import StepError, UnreachableError, innermost

TIMEOUT_SECONDS = 20


class Server:
    """One of the two. `authority` is a file of certificates, for one that is not by a public authority.

    `query` goes along with every call.
    """

    def __init__(
        self,
        name: str,
        url: str,
        header: str,
        token: str,
        authority: str | None = None,
        query: Mapping[str, str] | None = None,
    ) -> None:
        self._name, self._url, self._query = name, url.rstrip("/"), query or {}
        self._session = bounded_http.bounded(requests.Session())
        # Not through a proxy that the environment names: the token goes to this server and nobody else.
        self._session.trust_env = False
        self._session.verify = authority or True
        if token:
            redact.register(token)
            self._session.headers[header] = token

    def known_as(self, certificate: str | None, key: str | None, server: str | None) -> "Server":
        """Show a certificate of ours, and expect one of the server that is for the name `server`."""
        if certificate:
            self._session.cert = (certificate, key) if key else certificate
        if server:
            self._session.mount(f"{self._url}/", _Named(server))
        return self

    def get(self, path: str) -> Any:
        """Return what is there, None where nothing is."""
        return self.call("GET", path)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Make one call and return its answer, None where it is about nothing that there is.

        Raise UnreachableError if the server does not answer, StepError if it refuses.
        """
        try:
            answer = self._session.request(
                method,
                f"{self._url}/v1/{path}",
                params=self._query,
                json=body,
                timeout=TIMEOUT_SECONDS,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise UnreachableError(
                f"{self._name} at {self._url} does not answer ({innermost(error)})",
                hint="start it, or correct the address",
            ) from None
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return None
        if answer.status_code >= HTTPStatus.MULTIPLE_CHOICES:
            message = redact.redact(answer.text.strip()[:300])
            raise StepError(f"{self._name} refused {method} {path}: HTTP {answer.status_code}: {message}")
        try:
            return answer.json() if answer.content else {}
        except ValueError:
            raise UnreachableError(
                f"{self._url} does not answer like {self._name} when asked for {method} {path}",
                hint="correct the address",
            ) from None


class _Named(BoundedAdapter):
    """Asks for a server by another name than its address has, as Nomad's own certificates are made."""

    def __init__(self, server: str) -> None:
        self._server = server
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **more: Any) -> None:
        """Have each connection ask so."""
        super().init_poolmanager(
            *arguments, server_hostname=self._server, assert_hostname=self._server, **more
        )


def vault(url: str, token: str) -> Server:
    """Return the Vault server, or OpenBao."""
    return Server("Vault", url, "X-Vault-Token", token, os.environ.get("VAULT_CACERT"))


def nomad() -> Server:
    """Return the Nomad server that the environment names, as Nomad's own program takes it."""
    given = os.environ.get
    query = {key: value for key in ("namespace", "region") if (value := given(f"NOMAD_{key.upper()}"))}
    made = Server(
        "Nomad",
        given("NOMAD_ADDR", "http://127.0.0.1:4646"),
        "X-Nomad-Token",
        given("NOMAD_TOKEN", ""),
        given("NOMAD_CACERT"),
        query,
    )
    return made.known_as(
        given("NOMAD_CLIENT_CERT"), given("NOMAD_CLIENT_KEY"), given("NOMAD_TLS_SERVER_NAME")
    )
