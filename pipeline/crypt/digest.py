"""What tells bytes and keys from others: sizes, SHA-256 and fingerprints, as a manifest keeps them."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict


class Digest(BaseModel):
    """The size and the SHA-256 of some bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    size_bytes: int
    sha256: str


class Recipient(BaseModel):
    """A key that opens what is encrypted to it."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    fingerprint: str
    user_id: str
    expires_at: datetime | None
