"""What each step of a backup leaves in the work folder for the next, and whether it is there, whole."""

from datetime import datetime
from pathlib import Path

from pydantic import BaseModel

from pipeline.backup.store.manifest import Contents, File
from pipeline.backup.work.work_folder import ENCRYPTED, Work
from pipeline.crypt import Digest, Recipient

DUMPED, UPLOADED = "dumped.json", "uploaded.json"


class Dumped(BaseModel):
    """The dump, the roles beside it, and what the database held at `taken_at`.

    `neighbours` are the other databases of its server.
    """

    taken_at: datetime
    started_at: datetime
    dump_seconds: float
    contents_seconds: float
    client_version: str
    compression: str
    contents: Contents
    dump: Digest
    globals: Digest
    warnings: tuple[str, ...]
    neighbours: tuple[str, ...] = ()


class Encrypted(BaseModel):
    """The encrypted files, with all that is known of what is in them."""

    dumped: Dumped
    dump: File
    globals: File
    recipients: tuple[Recipient, ...]
    encrypt_seconds: float


class Uploaded(BaseModel):
    """How long the upload took. Whether it is there is for the bucket to say."""

    upload_seconds: float


def dumped(folder: Work) -> Dumped | None:
    """Return the dump's record if the plaintext is here, whole; None if it is not, or not any more."""
    record = folder.read(DUMPED, Dumped)
    whole = record and _has(folder.dump, record.dump) and _has(folder.globals, record.globals)
    return record if whole else None


def encrypted(folder: Work) -> Encrypted | None:
    """Return the record of the encrypted files if they are here, whole; None if they are not."""
    record = folder.read(ENCRYPTED, Encrypted)
    files = ((folder.dump, record.dump), (folder.globals, record.globals)) if record else ()
    whole = all(_has(folder.encrypted(path), file.encrypted) for path, file in files)
    return record if whole else None


def uploaded(folder: Work) -> Uploaded | None:
    """Return the upload's record, or None."""
    return folder.read(UPLOADED, Uploaded)


def _has(path: Path, digest: Digest) -> bool:
    try:
        return path.stat().st_size == digest.size_bytes
    except FileNotFoundError:
        return False
