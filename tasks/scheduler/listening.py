"""The port of the scheduler: on this machine alone, or encrypted."""

import asyncio
import ipaddress
import logging
import socket
import ssl
from pathlib import Path

import tornado.netutil

from pipeline.errors import UsageError
from pipeline.settings import VisualizerSettings

logger = logging.getLogger(__name__)

POLL_SECONDS = 60


def require_private(address: str, *, encrypted: bool) -> None:
    """Raise UsageError if passwords could be read on their way to an address."""
    try:
        addresses = {str(one[4][0]) for one in socket.getaddrinfo(address or None, 0)}
    except OSError as error:
        raise UsageError(
            f"{address}: is not a valid address to listen on ({error.strerror or error}); correct --address"
        ) from None
    # No address at all means every one.
    private = bool(address) and all(
        ipaddress.ip_address(one.partition("%")[0]).is_loopback for one in addresses
    )
    if not private and not encrypted:
        raise UsageError(
            f"{address or 'every address'}: passwords would be sent unencrypted; write "
            "certificate and key in [visualizer], or listen on 127.0.0.1"
        )


def listen(address: str, port: int) -> list[socket.socket]:
    """Take the port. Raise UsageError if it cannot be had."""
    try:
        return tornado.netutil.bind_sockets(port, address=address)
    except OSError as error:
        raise UsageError(
            f"{address}:{port}: cannot listen there ({error.strerror}); stop the process that uses the "
            "port, or name another --port"
        ) from None


class Encryption:
    """The certificate of [visualizer] and its key, taken up again when they are renewed."""

    def __init__(self, certificate: Path, key: Path | None) -> None:
        """Read them. Raise UsageError if they are no good."""
        self._certificate, self._key = certificate, key
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._seen = self._changed_at()
        try:
            self._load()
        except OSError as error:
            raise UsageError(
                f"{certificate}: is not a certificate with its key ({error.strerror or error}); correct "
                "certificate and key in [visualizer]"
            ) from None

    @classmethod
    def declared(cls, settings: VisualizerSettings) -> "Encryption | None":
        """Return what [visualizer] says, or None if it says nothing."""
        return cls(settings.certificate, settings.key) if settings.certificate else None

    def renew(self) -> None:
        """Take up another certificate, if there is one; new connections have it."""
        if (now := self._changed_at()) == self._seen:
            return
        try:
            self._load()
        except OSError as error:
            # It may be half written: the old one stays, and the next look finds the rest.
            logger.warning("%s: cannot be loaded (%s); the old one stays in use", self._certificate, error)
        else:
            self._seen = now
            logger.info("%s was renewed", self._certificate)

    async def keep(self) -> None:
        """Look for another one again and again, until this is cancelled."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            self.renew()

    def _load(self) -> None:
        # An ssl.SSLError is an OSError.
        self.context.load_cert_chain(self._certificate, self._key)

    def _changed_at(self) -> list[int]:
        files = [file for file in (self._certificate, self._key) if file is not None]
        return [file.stat().st_mtime_ns for file in files if file.exists()]
