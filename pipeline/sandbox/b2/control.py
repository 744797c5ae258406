"""The client of the emulator's control endpoint: buckets and keys for provisioning; time, damage and faults
for tests. It finds the endpoint and its token in the emulator's home, which only its owner can read.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from pipeline.errors import StepError, UnreachableError

CONTROL_FILE = "control.json"
TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class NewKey:
    """An application key as it was made; the secret half is told this once only."""

    key_id: str
    application_key: str

    def __repr__(self) -> str:
        return f"NewKey({self.key_id!r})"


def announce(home: Path, url: str, token: str) -> None:
    """Write where the endpoint is and its token, readable for the owner only."""
    temporary = home / f".{CONTROL_FILE}"
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump({"url": url, "token": token, "pid": os.getpid()}, file)
    temporary.replace(home / CONTROL_FILE)


class Control:
    """Talks to the emulator whose folder is `home`. Raise UnreachableError if it does not run."""

    def __init__(self, home: Path) -> None:
        self._home = home
        announced = self._announced()
        self.url: str = announced["url"]
        self.pid: int = announced["pid"]
        self._session = requests.Session()
        self._session.trust_env = False  # a proxy of the environment has no business with loopback

    def _announced(self) -> dict[str, Any]:
        try:
            announced: dict[str, Any] = json.loads((self._home / CONTROL_FILE).read_text())
        except OSError as error:
            raise UnreachableError(f"no B2 emulator is running in {self._home}: {error.strerror}") from error
        return announced

    def close(self) -> None:
        """Let go of the connection."""
        self._session.close()

    def __enter__(self) -> "Control":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def create_bucket(self, name: str, *, lock: bool = False) -> str:
        """Make a private bucket, unless it is there, and return its id; `lock` allows Object Lock."""
        return str(self._do("create_bucket", name=name, lock=lock)["bucket_id"])

    def remove_bucket(self, name: str) -> None:
        """Let a bucket vanish with all it holds."""
        self._do("remove_bucket", name=name)

    def create_key(
        self,
        name: str,
        capabilities: Iterable[str],
        *,
        bucket: str | None = None,
        name_prefix: str | None = None,
        valid_seconds: int | None = None,
    ) -> NewKey:
        """Make an application key, restricted to a bucket, a prefix and a time if they are given."""
        made = self._do(
            "create_key",
            name=name,
            capabilities=sorted(capabilities),
            bucket=bucket,
            name_prefix=name_prefix,
            valid_seconds=valid_seconds,
        )
        return NewKey(made["key_id"], made["application_key"])

    def delete_key(self, key_id: str) -> None:
        """Remove a key; its tokens stop working at once."""
        self._do("delete_key", key_id=key_id)

    def expire_tokens(self) -> None:
        """End every token that was given out, as B2 does after a day."""
        self._do("expire_tokens")

    def advance(self, *, days: int) -> dict[str, list[str]]:
        """Move the clock, run each day's lifecycle rules, and return the names they touched, by action."""
        return self._do("advance", days=days)

    def advance_seconds(self, seconds: float) -> None:
        """Move the clock without running lifecycle rules."""
        self._do("advance", seconds=seconds)

    def fault(self, call: str, kind: str, **details: Any) -> None:
        """Let calls go wrong: see `faults.Fault` for kinds and details."""
        self._do("fault", call=call, kind=kind, **details)

    def clear(self) -> None:
        """Remove every fault and forget the calls."""
        self._do("clear")

    def calls(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return the calls so far (of one name), each with its status, file, part and size."""
        calls: list[dict[str, Any]] = self._do("calls")["calls"]
        return [call for call in calls if name in {None, call["call"]}]

    def versions(self, bucket: str) -> list[dict[str, Any]]:
        """Return every version in a bucket, unfinished (`start`) and hidden ones and markers included."""
        versions: list[dict[str, Any]] = self._do("versions", bucket=bucket)["versions"]
        return versions

    def corrupt(self, bucket: str, name: str, *, offset: int = 0) -> None:
        """Flip a bit of what is stored."""
        self._do("corrupt", bucket=bucket, name=name, offset=offset)

    def truncate(self, bucket: str, name: str, *, size_bytes: int) -> None:
        """Cut an object short, in its listing as well."""
        self._do("truncate", bucket=bucket, name=name, size_bytes=size_bytes)

    def replace(self, bucket: str, name: str, *, other: str) -> None:
        """Put the content of another object in place of this one's; its file info stays."""
        self._do("replace", bucket=bucket, name=name, other=other)

    def _do(self, command: str, **body: Any) -> dict[str, Any]:
        try:
            response = self._session.post(
                f"{self.url}/control/{command}",
                json=body,
                headers={"Authorization": self._announced()["token"]},
                timeout=TIMEOUT_SECONDS,
            )
        except requests.ConnectionError:
            raise UnreachableError(
                f"the B2 emulator at {self.url} does not answer; start it with 'bin/sandbox up'"
            ) from None
        answer: dict[str, Any] = response.json()
        if not response.ok:
            raise StepError(f"B2 emulator, {command}: {answer.get('message')}")
        return answer
