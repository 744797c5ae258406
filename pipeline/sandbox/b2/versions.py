"""Versions of files: finished, unfinished, or the marker that hides older ones; their content is on disk."""

from typing import Any

from b2sdk.v3 import (
    FileRetentionSetting,
    FileSimulator,
    RetentionMode,
)
from b2sdk.v3.exception import (
    BadRequest,
    ChecksumMismatch,
    MissingPart,
)

from pipeline.sandbox.b2.storage import Content


def retention_of(value: dict[str, Any] | None) -> FileRetentionSetting | None:
    """Return a lock as the SDK has it, None where there is none."""
    if not value or value.get("mode") is None:
        return None
    return FileRetentionSetting(RetentionMode(value["mode"]), int(value["retainUntilTimestamp"]))


class DiskFile(FileSimulator):  # type: ignore[misc] # the SDK is untyped
    """A version: a file, an unfinished one, or a marker that hides older ones. `data_bytes` is a Content."""

    def document(self) -> dict[str, Any]:
        """Return everything that a restart must bring back."""
        retention = self.file_retention
        return {
            "bucket_id": self.bucket.bucket_id,
            "action": self.action,
            "name": self.name,
            "content_type": self.content_type,
            "content_sha1": self.content_sha1,
            "file_info": self.file_info,
            "upload_timestamp": self.upload_timestamp,
            "retention": None if retention is None else retention.as_dict(),
            "legal_hold": self.legal_hold.value,
            "segments": [] if self.data_bytes is None else [size for _, size in self.data_bytes.segments],
            "parts": [
                [part.part_number, part.content_length, part.content_sha1]
                for part in getattr(self, "parts", [])
                if part is not None
            ],
        }

    def finish(self, part_sha1_array: list[str]) -> None:
        """Make the uploaded parts a file. Raise as B2 does if one is missing, too small or another."""
        parts = [part for part in self.parts if part is not None]
        if not parts or [part.part_number for part in parts] != list(range(1, len(parts) + 1)):
            raise MissingPart(self.file_id)
        if part_sha1_array != [part.content_sha1 for part in parts]:
            raise ChecksumMismatch("sha1", expected=str(part_sha1_array), actual="what was uploaded")
        if any(part.content_length < self.bucket.api.part_size_bytes for part in parts[:-1]):
            raise BadRequest("all parts but the last must have the minimum size", "bad_request")
        self.data_bytes = Content(tuple((part.part_data, part.content_length) for part in parts))
        self.content_length = len(self.data_bytes)
        self.action = "upload"

    def locked_until(self) -> int | None:
        """Return until when (in milliseconds) the version may not be deleted, if it is locked now."""
        retention = self.file_retention
        if retention is None or retention.retain_until is None:
            return None
        until = int(retention.retain_until)
        return until if until > self.bucket.api.storage.now_milliseconds() else None
