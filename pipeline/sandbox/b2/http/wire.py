"""What goes over the wire: the SDK's exceptions as HTTP answers that another SDK reads back, and headers."""

import base64
import binascii
from typing import Any

from b2sdk.v3.exception import (
    AccessDenied,
    B2Error,
    BadJson,
    BadRequest,
    BucketIdNotFound,
    ChecksumMismatch,
    Conflict,
    DisablingFileLockNotSupported,
    DuplicateBucketName,
    FileNotPresent,
    MissingPart,
    NonExistentBucket,
    StorageCapExceeded,
    Unauthorized,
    UnsatisfiableRange,
)

from pipeline.sandbox.b2.faults import Fault

# The first class that fits decides, so the narrower ones come first.
ANSWERS: tuple[tuple[type[B2Error], int, str], ...] = (
    (NonExistentBucket, 400, "bad_bucket_id"),
    (BucketIdNotFound, 400, "bad_bucket_id"),
    (FileNotPresent, 404, "not_found"),
    (BadJson, 400, "bad_json"),
    (MissingPart, 400, "missing_part"),
    (ChecksumMismatch, 400, "part_sha1_mismatch"),
    (DuplicateBucketName, 400, "duplicate_bucket_name"),
    (DisablingFileLockNotSupported, 400, "file_lock_conflict"),
    (StorageCapExceeded, 403, "storage_cap_exceeded"),
    (AccessDenied, 403, "access_denied"),
    (Conflict, 409, "conflict"),
    (UnsatisfiableRange, 416, "range_not_satisfiable"),
)


class Refused(B2Error):  # type: ignore[misc] # noqa: N818 - it is the answer itself
    """A call that a fault refuses."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.code)
        self.fault = fault


def as_answer(error: B2Error) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Return status, body and headers for an error."""
    headers: dict[str, str] = {}
    fault = getattr(error, "fault", None)
    if fault is not None:
        status, code = fault.status, fault.code
        if fault.retry_after is not None:
            headers["Retry-After"] = fault.retry_after
    elif isinstance(error, Unauthorized):
        status, code = 401, error.code or "unauthorized"
    elif isinstance(error, BadRequest):
        status, code = 400, error.code
    else:
        known = [(status, code) for kind, status, code in ANSWERS if isinstance(error, kind)]
        status, code = known[0] if known else (500, "internal_error")
    return status, {"status": status, "code": code, "message": str(error)}, headers


def basic_credentials(authorization: str) -> tuple[str, str]:
    """Return key id and key of a Basic Authorization header, empty ones if it is not one."""
    kind, _, encoded = authorization.partition(" ")
    try:
        key_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        key_id = secret = ""
    return (key_id, secret) if kind == "Basic" else ("", "")


def asked_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the first and last byte that a Range header asks for, None for all. Raise UnsatisfiableRange."""
    if header is None:
        return None
    unit, _, span = header.partition("=")
    first, _, last = span.partition("-")
    if unit != "bytes" or not first.isdigit():
        raise UnsatisfiableRange
    end = min(int(last) if last.isdigit() else size - 1, size - 1)
    if int(first) > end:
        raise UnsatisfiableRange
    return int(first), end
