"""An ssh-agent of our own, for one fetch: it has the deploy key, and nobody else's; it ends with that fetch.

The key goes from us to the agent by a pipe, and from there nowhere: ssh asks the agent to sign. The server is
known by the keys that were written beside it, and by nothing else; no configuration of anybody's is read.
"""

import contextlib
import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pipeline.errors import StepError
from pipeline.git.address import LoginError
from pipeline.git.trouble import MachineError
from pipeline.system import command, temporary

START_SECONDS = ADD_SECONDS = 10.0
POLL_SECONDS = 0.02
AGENT = ("ssh-agent", "-D", "-a")
# For as long as a fetch may take: the agent ends with us, and should it not, it has nothing any more.
ADD = ("ssh-add", "-q", "-t", "180", "-")
# A passphrase is not asked for, whoever is at the terminal.
NOBODY_TO_ASK = {"SSH_ASKPASS": "false", "SSH_ASKPASS_REQUIRE": "force"}
PREFIX = "pipeline-ssh-"
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

    Raise LoginError if the key is none, or is locked by a passphrase; MachineError if OpenSSH is not there,
    or does not do its work. Use it in the main thread.
    """
    for program in ("ssh", "ssh-add", "ssh-agent"):
        if shutil.which(program) is None:
            raise MachineError(f"{program}: not found", hint="install OpenSSH's client")
    # That of a sync that was killed is removed first. It holds no key.
    with temporary.folder(Path(tempfile.gettempdir()), PREFIX, command.kill_started_with) as folder:
        socket, hosts = folder / "agent", folder / "known_hosts"
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
    with (
        Path(os.devnull).open("wb") as nowhere,
        command.Child(
            [*AGENT, socket], environment=_environment(), output=nowhere.fileno(), new_privileges=False
        ) as agent,
    ):
        deadline = time.monotonic() + START_SECONDS
        while not socket.exists():
            if not agent.running:
                _refuse(agent)
            if time.monotonic() > deadline:
                raise MachineError(
                    f"ssh-agent: not ready after {START_SECONDS:g} seconds, so it was stopped",
                    hint="check whether this machine is overloaded, and run the command again",
                )
            time.sleep(POLL_SECONDS)
        yield


def _refuse(agent: command.Child) -> NoReturn:
    """Raise StepError with what an agent said that ended before it was ready."""
    try:
        agent.finish()
    except StepError as error:
        fact = error.fact
    else:
        fact = "ssh-agent ended before it was ready"
    raise MachineError(
        fact, hint=f"set TMPDIR to a short path that can be written ({tempfile.gettempdir()} is used)"
    )


def _add(socket: Path, key: str) -> None:
    environment = {**_environment(), "SSH_AUTH_SOCK": str(socket), **NOBODY_TO_ASK}
    try:
        command.run(ADD, environment=environment, stdin=key.strip() + "\n", timeout_seconds=ADD_SECONDS)
    except command.ExitError as error:
        raise LoginError(
            f"the deploy key is not accepted: {error.fact}",
            hint="write an OpenSSH private key without a passphrase into Vault",
        ) from None
    except StepError as error:
        raise MachineError(
            error.fact, hint=error.hint or "find the cause on this machine, and run the command again"
        ) from None


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
