"""Nomad for tests: its job files as they are read, its tokens, and a stand-in for its client.

Nomad itself is not here. What the stand-in does was seen of version 2.0.5: folders, environment, token, logs,
and what the client remembers. What it does not do: place, restart, limit, change the user, or fetch a file.
"""

import base64
import contextlib
import functools
import json
import os
import re
import signal
import ssl
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import hcl2
import trustme
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from pipeline.chains import Duty
from pipeline.chains.jobs import Job
from pipeline.nomad import values
from pipeline.sandbox.home import PROJECT
from tests.support.night import COMMAND_SECONDS, program

FOLDER = PROJECT / "nomad"


def plain(value: Any) -> Any:
    """Return what hcl2 read without its marks: strings in their quotes, comments, blocks as lists."""
    if isinstance(value, dict):
        return {key.strip('"'): plain(one) for key, one in value.items() if not key.startswith("__")}
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, bool):
        return str(value).lower()
    return value.strip('"') if isinstance(value, str) else value


# To read one takes a second.
@functools.cache
def read(duty: Duty) -> dict[str, Any]:
    """Return the job of a duty, from its file."""
    with (FOLDER / f"{duty.name}.nomad.hcl").open() as file:
        parsed = plain(hcl2.load(file))
    ((name, job),) = parsed["job"][0].items()
    assert name == duty.name
    found: dict[str, Any] = job
    return found


def group_of(duty: Duty) -> dict[str, Any]:
    """Return the one group of its job."""
    ((_, group),) = read(duty)["group"][0].items()
    found: dict[str, Any] = group
    return found


def tasks_of(duty: Duty) -> dict[str, dict[str, Any]]:
    """Return its tasks by name, those that are done first before the others."""
    return {name: task for each in group_of(duty)["task"] for name, task in each.items()}


def encoded(data: bytes) -> str:
    """Return base64 as tokens have it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _number(value: int) -> str:
    return encoded(value.to_bytes((value.bit_length() + 7) // 8, "big"))


class Issuer:
    """Signs tokens as Nomad's servers do, and tells by what key; with an authority, over TLS."""

    def __init__(self, authority: trustme.CA | None = None) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = self._key.public_key().public_numbers()
        key = {
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": "1",
            "n": _number(public.n),
            "e": _number(public.e),
        }
        answer = json.dumps({"keys": [key]}).encode()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        if authority:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert("127.0.0.1").configure_cert(context)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        scheme = "https" if authority else "http"
        self.url = f"{scheme}://127.0.0.1:{self.server.server_port}/.well-known/jwks.json"
        Thread(target=self.server.serve_forever, daemon=True).start()

    def token(self, job: str, namespace: str = "default") -> str:
        """Return the token of a job's task."""
        now = int(time.time())
        claims = {
            "aud": "vault.io",
            "exp": now + 3600,
            "iat": now,
            "nbf": now,
            "nomad_job_id": job,
            "nomad_namespace": namespace,
            "sub": f"global:{namespace}:{job}:group:task:vault",
        }
        parts = [
            encoded(json.dumps(one).encode()) for one in ({"alg": "RS256", "kid": "1", "typ": "JWT"}, claims)
        ]
        signature = self._key.sign(".".join(parts).encode(), padding.PKCS1v15(), hashes.SHA256())
        return ".".join([*parts, encoded(signature)])


@contextlib.contextmanager
def serving(made: Issuer) -> Iterator[Issuer]:
    """Have it answer until the end of the block."""
    yield made
    made.server.shutdown()
    made.server.server_close()


@dataclass
class Client:
    """A stand-in for Nomad's client: it begins the tasks of job files on this machine."""

    folder: Path
    issuer: Issuer
    # Of the job files' variables, as in a file of values.
    given: Mapping[str, str]
    # What is in the environment of the agent, and so in that of a task by raw_exec.
    agent: Mapping[str, str] = field(default_factory=dict)
    started: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    @property
    def state(self) -> Path:
        """What it remembers of its tasks, to know them again after it was killed."""
        return self.folder / "client"

    @property
    def allocations(self) -> Path:
        """The folders of its tasks, and their logs."""
        return self.folder / "alloc"

    def begin(self, job: str, name: str, task: Mapping[str, Any], **more: str) -> "subprocess.Popen[bytes]":
        """Begin one task of a job. `more` is what a person gives with it, and the variables of this job."""
        top = self.allocations / str(uuid.uuid4())
        place, logs = top / name, top / "alloc" / "logs"
        for each in (place / "local", place / "secrets", logs, self.state):
            each.mkdir(parents=True, exist_ok=True)
        (place / "secrets").chmod(0o700)
        own = {
            "NOMAD_TASK_DIR": str(place / "local"),
            "NOMAD_SECRETS_DIR": str(place / "secrets"),
            "NOMAD_ALLOC_DIR": str(top / "alloc"),
            "NOMAD_JOB_ID": job,
            **{f"NOMAD_META_{key}": value for key, value in more.items()},
        }
        (identity,) = task["identity"]
        token = place / "secrets" / f"nomad_{identity['name']}.jwt"
        token.touch(mode=0o600)
        token.write_text(self.issuer.token(job))
        # In the place of the release that Nomad fetches there.
        (place / "local" / "pipeline.pex").write_text(Path(program("pipeline")).read_text())
        known = {**self.given, **more}
        env = {key: _evaluated(value, known, own) for key, value in task["env"][0].items()}
        (config,) = task["config"]
        line = [_evaluated(word, known, own) for word in (config["command"], *config["args"])]
        kept = {"job": job, "task": name, "spec": task, "line": line, "env": {**own, **env}}
        (self.state / f"{top.name}.json").write_text(json.dumps(kept))
        with (logs / f"{name}.stdout.0").open("wb") as out, (logs / f"{name}.stderr.0").open("wb") as err:
            process = subprocess.Popen(
                line,
                cwd=place,
                env={**self.agent, **own, **env},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def close(self) -> None:
        """End what is still running, with all that it started."""
        for process in self.started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def run(self, duty: Duty, **more: str) -> tuple[int, str]:
        """Run a job to its end, what is done first included; return its exit code and its logs."""
        job = Job(duty, more.get("database") if duty.per_database else None).id
        before = self.logs()
        code = 0
        for name, task in tasks_of(duty).items():
            code = code or self.begin(job, name, task, **more).wait(COMMAND_SECONDS)
        return code, self.logs().removeprefix(before)

    def logs(self) -> str:
        """Return all that its tasks said, the oldest first."""
        files = sorted(self.allocations.glob("*/alloc/logs/*"), key=lambda path: path.stat().st_mtime_ns)
        return "".join(path.read_text(errors="replace") for path in files)


def _evaluated(text: str, known: Mapping[str, str], own: Mapping[str, str]) -> str:
    """Return a string of a job file as the client has it in the end: an optional meta is empty, and there."""

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name.startswith("var."):
            default = values.VARIABLES.get(name[4:], ("", '""', ""))[1]
            return known.get(name[4:], default.strip('"'))
        return own.get(name, "")

    return re.sub(r"\$\{([\w.]+)\}", value, text)
