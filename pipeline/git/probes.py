"""Asks a server of repositories, after git has failed there, what is so: each within some seconds."""

import os
import shlex
import socket
import ssl
import subprocess
from collections.abc import Mapping, Sequence
from enum import Enum, auto
from http import HTTPStatus
from pathlib import Path
from urllib.parse import unquote

import requests

from pipeline import bounded_http
from pipeline.git import credential
from pipeline.git.address import SSH_PORT, ssh_place

SECONDS = 10.0
# As ssh ends of its own accord; else it ends as what it started there.
SSH_FAILED = 255
ADVERTISED = "application/x-git-upload-pack-advertisement"


class Answer(Enum):
    """How a server answered."""

    NONE = auto()
    STRANGE_KEY = auto()
    UNTRUSTED = auto()
    REFUSES = auto()
    NO_REPOSITORY = auto()
    ANOTHERS = auto()


def by_https(url: str, token: str | None) -> Answer:
    """Return how a server answers git's first request, with that token."""
    with bounded_http.bounded(requests.Session()) as session:
        # As git does here: no proxy and no login of this user's, and whom this machine trusts.
        session.trust_env = False
        session.verify = _authorities()
        try:
            answer = session.get(
                f"{url.rstrip('/')}/info/refs",
                params={"service": "git-upload-pack"},
                auth=(credential.USER, token) if token else None,
                timeout=SECONDS,
                allow_redirects=False,
                stream=True,
            )
        except requests.RequestException as error:
            return Answer.UNTRUSTED if _is_untrusted(error) else Answer.NONE
        status = answer.status_code
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return Answer.REFUSES
        other = status == HTTPStatus.OK and answer.headers.get("Content-Type") != ADVERTISED
        if other or answer.is_redirect or status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
            return Answer.NO_REPOSITORY
        return Answer.NONE


def by_ssh(url: str, speaks: Mapping[str, str]) -> Answer:
    """Return how a server answers ssh, by the command line in `speaks`."""
    line = shlex.split(speaks.get("GIT_SSH_COMMAND", ""))
    try:
        user, host, port, path = ssh_place(url)
        socket.create_connection((host, port), SECONDS).close()
    except (OSError, ValueError):
        # A ValueError is of an address that is none.
        return Answer.NONE
    _, scanned = _run(["ssh-keyscan", "-T", f"{SECONDS / 2:.0f}", "-p", str(port), "--", host])
    known_hosts = next((word.partition("=")[2] for word in line if word.startswith("UserKnownHosts")), "")
    name = host if port == SSH_PORT else f"[{host}]:{port}"
    _, known = _run(["ssh-keygen", "-F", name, "-f", known_hosts])
    if not scanned:
        return Answer.NONE
    if "@cert-authority" not in known.split() and _keys(scanned).isdisjoint(_keys(known)):
        return Answer.STRANGE_KEY
    whom = f"{user}@{host}" if user else host
    status, _ = _run([*line, "-p", str(port), "--", whom, f"git-upload-pack {shlex.quote(path)}"])
    return Answer.REFUSES if status == SSH_FAILED else Answer.NO_REPOSITORY


def by_path(url: str) -> Answer:
    """Return what is wrong with a repository on this machine."""
    path = unquote(url.removeprefix("file://")) if url.startswith("file://") else url
    # Where git looks for it, in this order.
    for place in (Path(path, ".git"), Path(path), Path(f"{path}.git", ".git"), Path(f"{path}.git")):
        if os.path.isfile(place / "HEAD") and os.path.isdir(place / "objects"):  # noqa: PTH112, PTH113 - closed too
            return Answer.NONE if place.stat().st_uid == os.geteuid() else Answer.ANOTHERS
    return Answer.NO_REPOSITORY


def _authorities() -> str | bool:
    """Return where the authorities are that this machine trusts: requests has its own list."""
    paths = ssl.get_default_verify_paths()
    return paths.cafile or paths.capath or True


def _is_untrusted(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _keys(lines: str) -> set[tuple[str, ...]]:
    """Return kind and key of each line of known_hosts."""
    words = [line.split() for line in lines.splitlines() if line.strip() and line[0] not in "#@"]
    return {tuple(one[1:3]) for one in words}


def _run(line: Sequence[str]) -> tuple[int | None, str]:
    """Return how a program ended, None if it took too long or is not there, and what it has written."""
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    try:
        done = subprocess.run(
            line,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None, ""
    return done.returncode, done.stdout
