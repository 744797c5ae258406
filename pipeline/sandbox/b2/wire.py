"""The SDK's exceptions as the HTTP answers they stand for, so that the SDK reads them back."""

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
