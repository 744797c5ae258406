"""Calls to the servers of Vault and Nomad, with the token of the person who types."""

import os
from http import HTTPStatus
from typing import Any

import requests

from pipeline import redact
from pipeline.errors import StepError, UnreachableError

TIMEOUT_SECONDS = 20


class Server:
    """One of the two. `authority` is a file of certificates, for one that is not by a public authority."""

    def __init__(self, name: str, url: str, header: str, token: str, authority: str | None = None) -> None:
        self._name, self._url = name, url.rstrip("/")
        self._session = requests.Session()
        # Not through a proxy that the environment names: the token goes to this server and nobody else.
        self._session.trust_env = False
        self._session.verify = authority or True
        if token:
            redact.register(token)
            self._session.headers[header] = token

    def get(self, path: str) -> Any:
        """Return what is there, None where nothing is."""
        return self.call("GET", path)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Make one call and return its answer, None where it is about nothing that there is.

        Raise UnreachableError if the server does not answer, StepError if it refuses.
        """
        try:
            answer = self._session.request(
                method, f"{self._url}/v1/{path}", json=body, timeout=TIMEOUT_SECONDS, allow_redirects=False
            )
        except requests.RequestException as error:
            why = type(error).__name__
            raise UnreachableError(
                f"{self._name} at {self._url} does not answer ({why})",
                hint="start it, or correct the address",
            ) from None
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return None
        if answer.status_code >= HTTPStatus.MULTIPLE_CHOICES:
            said = redact.redact(answer.text.strip()[:300])
            raise StepError(f"{self._name} refused {method} {path}: HTTP {answer.status_code}: {said}")
        return answer.json() if answer.content else {}


def vault(url: str, token: str) -> Server:
    """Return the Vault server, or OpenBao."""
    return Server("Vault", url, "X-Vault-Token", token, os.environ.get("VAULT_CACERT"))


def nomad() -> Server:
    """Return the Nomad server that the environment names, as Nomad's own program takes it."""
    url = os.environ.get("NOMAD_ADDR", "http://127.0.0.1:4646")
    token = os.environ.get("NOMAD_TOKEN", "")
    return Server("Nomad", url, "X-Nomad-Token", token, os.environ.get("NOMAD_CACERT"))
