"""Backblaze B2: uploads that go on where they were cut, downloads and read-backs that prove what they read,
lifecycle and lock. Nothing else uses b2sdk, but the sandbox's emulator.
"""

from typing import TYPE_CHECKING, Any

from pipeline.bucket.objects import Progress, Stored, Unfinished, Version
from pipeline.bucket.roles import ADMIN, AUDITOR, BY_HAND, RESTORER, VERIFIER, WRITER
from pipeline.bucket.rules import KEPT, BucketState, desired_rules
from pipeline.retry import RetryPolicy

if TYPE_CHECKING:
    from pipeline.bucket.bucket import Bucket, connect

__all__ = [
    "ADMIN",
    "AUDITOR",
    "BY_HAND",
    "KEPT",
    "RESTORER",
    "VERIFIER",
    "WRITER",
    "Bucket",
    "BucketState",
    "Progress",
    "RetryPolicy",
    "Stored",
    "Unfinished",
    "Version",
    "connect",
    "desired_rules",
]


def __getattr__(name: str) -> Any:
    """Import b2sdk, which is slow to import, when a bucket is asked for, and not by who only names one."""
    if name not in ("Bucket", "connect"):
        raise AttributeError(f"module {__name__} has no attribute {name}")
    from pipeline.bucket import bucket  # noqa: PLC0415 - that is what this is for

    return getattr(bucket, name)
