"""An ssh-agent of our own, for one fetch: it has the deploy key, and nobody else's; it ends with that fetch.

The key goes from us to the agent by a pipe, and from there nowhere: ssh asks the agent to sign. The server is
known by the keys that were written beside it, and by nothing else; no configuration of anybody's is read.
"""

import contextlib
import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import StepError
from pipeline.redact import redact
from pipeline.system import command

START_SECONDS = 10.0
LOOK_SECONDS = 0.02
AGENT = ("ssh-agent", "-D", "-a")
# For as long as a fetch may take: where we are killed, nobody ends the agent, but it has nothing any more.
ADD = ("ssh-add", "-q", "-t", "180", "-")
# What may not be asked for, of a person or of this machine.
_OPTIONS: Mapping[str, str] = {
    "BatchMode": "yes",
    "StrictHostKeyChecking": "yes",
    "GlobalKnownHostsFile": "/dev/null",
    "UpdateHostKeys": "no",
    "VerifyHostKeyDNS": "no",
    "CheckHostIP": "no",
    "PreferredAuthentications": "publickey",
    "PubkeyAuthentication": "yes",
    "IdentityFile": "none",
    "CertificateFile": "none",
    "PKCS11Provider": "none",
    "ControlMaster": "no",
    "ControlPath": "none",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "ClearAllForwardings": "yes",
    "PermitLocalCommand": "no",
    "ProxyCommand": "none",
    "ProxyJump": "none",
    "KnownHostsCommand": "none",
    "RequestTTY": "no",
    "ConnectTimeout": "15",
    "ServerAliveInterval": "10",
    "ServerAliveCountMax": "3",
}


@dataclass(frozen=True)
class Login:
    """A deploy key, as OpenSSH writes it, and the server's own keys, as in known_hosts."""

    key: str
    known_hosts: str


@contextlib.contextmanager
def speaking(login: Login) -> Iterator[dict[str, str]]:
    """Give the block the environment in which git reaches a server with that login.

    Raise StepError if the key is none, or is locked by a passphrase.
    """
    # A socket's path may not be long.
    with tempfile.TemporaryDirectory(prefix="pipeline-ssh-") as folder:
        socket, hosts = Path(folder) / "agent", Path(folder) / "known_hosts"
        # Public, as its name says.
        hosts.write_text(login.known_hosts.strip() + "\n")
        with _agent(socket):
            _add(socket, login.key)
            chosen = {**_OPTIONS, "IdentityAgent": str(socket), "UserKnownHostsFile": str(hosts)}
            options = [word for name, value in chosen.items() for word in ("-o", f"{name}={value}")]
            # git has it read by a shell.
            line = shlex.join(["ssh", "-F", "/dev/null", *options])
            yield {"GIT_SSH_COMMAND": line, "GIT_SSH_VARIANT": "ssh"}


@contextlib.contextmanager
def _agent(socket: Path) -> Iterator[None]:
    try:
        agent = subprocess.Popen(
            [*AGENT, str(socket)], env=_environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, umask=0o077,
        )  # fmt: skip
    except FileNotFoundError:
        raise StepError("ssh-agent: not found", hint="install OpenSSH's client") from None
    try:
        deadline = time.monotonic() + START_SECONDS
        while not socket.exists():
            if agent.poll() is not None or time.monotonic() > deadline:
                raise StepError("ssh-agent did not start")
            time.sleep(LOOK_SECONDS)
        yield
    finally:
        agent.kill()
        agent.wait()


def _add(socket: Path, key: str) -> None:
    done = subprocess.run(
        ADD, env={**_environment(), "SSH_AUTH_SOCK": str(socket)},
        input=key.strip() + "\n", capture_output=True, text=True, timeout=START_SECONDS,
        start_new_session=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        said = redact(command.failure("ssh-add", done.returncode, done.stderr))
        raise StepError(
            f"the deploy key is not taken: {said}",
            hint="write an OpenSSH private key without a passphrase into Vault",
        )


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
