"""Whether a backup is ours. Who has the key that writes to the bucket can put anything there; what counts is
signed by a key that never leaves Vault, over the exact bytes of its manifest, and over where that belongs.

The signature stands beside the manifest, so that lists can judge without reading it; it is verified with a
file of public keys, and never by asking Vault: on the worst day that is gone as well.
"""

import hashlib
from collections.abc import Mapping
from enum import StrEnum

from pipeline import crypt
from pipeline.access import Access
from pipeline.backup.store.manifest import Manifest
from pipeline.bucket.objects import SHA256_INFO, Stored
from pipeline.crypt import Signers
from pipeline.errors import CheckError
from pipeline.settings import Settings

NOBODY = (
    "the origin of backups is not verified: [backup] signers is not set, so a backup that somebody else put "
    "into the bucket counts as ours (docs/restore.md)"
)
LABEL, SHA1 = "signature", "manifest-sha1"
LABELS = ("taken-at", "verified-at", "method", "dump-sha256", "globals-sha256", SHA1)


class Signature(StrEnum):
    """What is to be thought of a backup where backups are signed."""

    SIGNED = "signed"
    """By a key of the file, for this database, this run and these bytes."""
    UNSIGNED = "unsigned"
    """It was made before backups were signed, or not by us."""
    WRONG = "wrong"
    """It has a signature, but of other bytes, of another place, or of a key that is not in the file."""


def warning(settings: Settings) -> str | None:
    """Return what is to be said where signatures are not verified: nothing else would show that."""
    return NOBODY if settings.backup and settings.backup.signers is None else None


def signers(settings: Settings) -> Signers | None:
    """Return whose signatures count, None where nothing is signed. Raise ProblemsError for a bad file."""
    path = settings.require_backup().signers
    return crypt.read_signers(path) if path else None


def labels(proven: Manifest, data: bytes) -> dict[str, str]:
    """Return what is said beside a manifest, whose bytes are `data`: lists need not read it then."""
    return {
        "database": proven.database,
        "run": proven.run,
        "taken-at": proven.taken_at.isoformat(),
        "verified-at": proven.verification.verified_at.isoformat(),
        "method": proven.verification.method,
        "dump-sha256": proven.dump.encrypted.sha256,
        "globals-sha256": proven.globals.encrypted.sha256,
        # B2 itself vouches for the SHA-1 of what it has, and for no other.
        SHA1: hashlib.sha1(data, usedforsecurity=False).hexdigest(),
    }


def statement(database: str, run: str, labelled: Mapping[str, str], sha256: str) -> bytes:
    """Return the bytes that are signed: whose backup it is, what is said of it, its manifest's SHA-256.

    >>> statement("hr", "2026-11-22", {"method": "all"}, "00").decode().splitlines()[:3]
    ['pipeline backup 1', 'database hr', 'run 2026-11-22']
    """
    lines = ["pipeline backup 1", f"database {database}", f"run {run}"]
    lines += [f"{name} {labelled.get(name, '')}" for name in LABELS]
    return "".join(f"{line}\n" for line in [*lines, f"manifest-sha256 {sha256}"]).encode()


def judge(known: Signers | None, database: str, run: str, proof: Stored) -> Signature | None:
    """Return what a manifest's signature is worth at its place, None where nothing is signed.

    Its SHA-256 is what its writer said: who reads it compares the bytes with `proof.sha256`.
    """
    if known is None:
        return None
    written = proof.info.get(LABEL)
    if written is None:
        return Signature.UNSIGNED
    signed = statement(database, run, proof.info, proof.info.get(SHA256_INFO, ""))
    same = proof.sha1 in (None, proof.info.get(SHA1))
    return Signature.SIGNED if same and known.hold(database, written, signed) else Signature.WRONG


def require_able(databases: Access, database: str) -> None:
    """Find out before a long dump that nothing could be signed. Raise as `sign`."""
    if known := signers(databases.settings):
        _signed(databases, known, database, b"pipeline: can this be signed?\n")


def problems(databases: Access, database: str) -> list[str]:
    """Return what is wrong with the keys of a database, with the lines that the file lacks.

    Raise UnreachableError, with what to type, if Vault has no such key or does not sign.
    """
    path = databases.settings.require_backup().signers
    if path is None:
        return []
    # Else nobody would tell the first lines that are to be written there.
    known = crypt.read_signers(path, may_lack=True)
    there, vault = databases.vault.transit.public_keys(database), databases.settings.vault
    lines = [
        f"{known.path} lacks a key of {database}; write this line there, and on each machine that "
        f"restores: {line}"
        for line in known.lacking(database, there)
    ]
    lines += known.unknown(database, there, f"{vault.transit}/keys/{vault.signing_key(database)}")
    lines += databases.vault.transit.faults(database)
    if not lines:
        require_able(databases, database)
    return lines


def sign(databases: Access, proven: Manifest, data: bytes) -> dict[str, str]:
    """Return the labels of a manifest, whose bytes are `data`, with the signature where backups are signed.

    Raise StepError if the file has no key of the database, UnreachableError if Vault does not sign,
    CheckError if what it signed does not count here.
    """
    labelled = labels(proven, data)
    known = signers(databases.settings)
    if known is None:
        return labelled
    signed = statement(proven.database, proven.run, labelled, hashlib.sha256(data).hexdigest())
    return {**labelled, LABEL: _signed(databases, known, proven.database, signed)}


def _signed(databases: Access, known: Signers, database: str, data: bytes) -> str:
    version = known.newest(database)
    signature = databases.vault.transit.sign(database, version, data)
    if not known.hold(database, signature, data):
        raise CheckError(
            f"{known.path}: version {version} of {database} is not the key that Vault signs with",
            hint="'pipeline check' prints the line to write there",
        )
    return signature
