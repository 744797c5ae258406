"""What is in a bucket: finished objects, and uploads that were not finished."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

Progress = Callable[[int, int], None]
"""Called with the bytes done so far and the bytes in all, from one thread at a time. The bytes done can go
back a little when a part has to be sent or read again.
"""

SHA256_INFO = "sha256"
"""The file info under which an object's own SHA-256 is kept: B2 itself knows none for large files."""

UNKNOWN = "unknown"
# Else B2 writes "none", or "unverified:" before what it was told.
SHA1_DIGITS = 40


@dataclass(frozen=True)
class Stored:
    """An object. `sha256` is what its writer said it is, None if it was written by something else.

    `sha1` is what B2 itself has found, None of large files, and of what it was told not to look at.

    `retention_mode` is `compliance`, `governance`, None or `unknown` (the key lacks readFileRetentions).
    """

    name: str
    file_id: str
    size_bytes: int
    sha256: str | None
    content_type: str
    info: Mapping[str, str]
    uploaded_at: datetime
    retention_mode: str | None
    retained_until: datetime | None
    sha1: str | None = None


@dataclass(frozen=True)
class Version:
    """A version of a name: an object, or where `stored` is None the marker that hides what is below it."""

    name: str
    made_at: datetime
    stored: Stored | None


@dataclass(frozen=True)
class Unfinished:
    """A large upload that was started and neither finished nor cancelled."""

    name: str
    file_id: str
    sha256: str | None
    info: Mapping[str, str]
    started_at: datetime


def from_milliseconds(value: int) -> datetime:
    """Return B2's time as an aware datetime."""
    return datetime.fromtimestamp(value / 1000, UTC)


def to_milliseconds(moment: datetime) -> int:
    """Return an aware datetime as B2's time."""
    return round(moment.timestamp() * 1000)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(type(value).__name__)
    return value


def _info(answer: Mapping[str, Any]) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in (answer["fileInfo"] or {}).items()}


def part(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return a part of an unfinished upload as B2 lists it."""
    sizes = {name: int(answer[name]) for name in ("partNumber", "contentLength")}
    return {**sizes, "contentSha1": _text(answer["contentSha1"])}


def stored(answer: Mapping[str, Any]) -> Stored:
    """Return an object as B2 lists it."""
    info = _info(answer)
    retention = answer.get("fileRetention") or {"isClientAuthorizedToRead": True, "value": None}
    value = retention["value"] or {}
    until = value.get("retainUntilTimestamp")
    sha1 = _text(answer.get("contentSha1") or "")
    return Stored(
        name=_text(answer["fileName"]),
        file_id=_text(answer["fileId"]),
        size_bytes=int(answer["contentLength"]),
        sha256=info.get(SHA256_INFO),
        content_type=_text(answer["contentType"]),
        info=info,
        uploaded_at=from_milliseconds(answer["uploadTimestamp"]),
        retention_mode=value.get("mode") if retention["isClientAuthorizedToRead"] else UNKNOWN,
        retained_until=None if until is None else from_milliseconds(until),
        sha1=sha1 if len(sha1) == SHA1_DIGITS else None,
    )


def version(answer: Mapping[str, Any]) -> Version | None:
    """Return a version of a name as B2 lists it; None of an upload that is not finished."""
    action = _text(answer["action"])
    if action in ("start", "folder"):
        return None
    made_at = from_milliseconds(answer["uploadTimestamp"])
    return Version(_text(answer["fileName"]), made_at, None if action == "hide" else stored(answer))


def unfinished(answer: Mapping[str, Any]) -> Unfinished:
    """Return an unfinished upload as B2 lists it."""
    info = _info(answer)
    return Unfinished(
        name=_text(answer["fileName"]),
        file_id=_text(answer["fileId"]),
        sha256=info.get(SHA256_INFO),
        info=info,
        started_at=from_milliseconds(answer["uploadTimestamp"]),
    )
