"""Backblaze B2: uploads that go on where they were cut, downloads and read-backs that prove what they read,
lifecycle and lock. Nothing else uses b2sdk, but the sandbox's emulator.
"""

from pipeline.bucket.bucket import Bucket, connect
from pipeline.bucket.objects import Progress, Stored, Unfinished
from pipeline.bucket.roles import ADMIN, AUDITOR, BY_HAND, RESTORER, VERIFIER, WRITER
from pipeline.bucket.rules import KEPT, BucketState, desired_rules
from pipeline.retry import RetryPolicy

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
    "connect",
    "desired_rules",
]
