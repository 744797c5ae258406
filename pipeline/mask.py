"""Masks: what is personal is hashed or left out in the source's own SELECT and never leaves the source.

A hash is HMAC-SHA-256 (RFC 2104), keyed with a secret from Vault: the same value gives the same hash in every
table and every run, so that joins still work, and nobody without the secret can try values out.
"""

import hashlib
import hmac

from psycopg2 import sql

from pipeline import postgres
from pipeline.errors import UnreachableError
from pipeline.postgres import Composable, Connection
from pipeline.redact import register

# The entry in Vault, and its key.
SECRET, KEY = "mask", "key"
MINIMUM_KEY_LENGTH = 32
BLOCK_BYTES = 64
FINGERPRINT_CHARACTERS = 16
# Session settings of the source that hold the two halves of the key for the time of the reading.
INNER, OUTER = "pipeline.mask_inner", "pipeline.mask_outer"


def require_long(key: str) -> None:
    """Raise UnreachableError if the key is too short to protect what it hashes."""
    if len(key) < MINIMUM_KEY_LENGTH:
        raise UnreachableError(
            f"the entry {SECRET} in Vault has a key of {len(key)} characters",
            hint=f"write a random one of {MINIMUM_KEY_LENGTH} or more; every hash changes with it",
        )


def instruction(mount: str, prefix: str) -> str:
    """Return the command that makes the key, below `prefix` of the KV engine at `mount`, and what to mind."""
    return (
        f"head -c 32 /dev/urandom | base64 -w0 | vault kv put -cas=0 -mount={mount} {prefix}/{SECRET} "
        f"{KEY}=-; keep a copy with Vault's own backup: another key changes every hash"
    )


def unlock(source: Connection, key: str) -> str:
    """Give the source's transaction what the hashes need; return what tells this key from another.

    Raise UnreachableError if the key is too short to protect.

    The key goes over in a statement of its own: a COPY that runs for an hour shows none of it in
    pg_stat_activity. A source that logs every statement logs it, beside the very values it masks. It is gone
    with the transaction: a pooler gives the session to others then.
    """
    require_long(key)
    material = key.encode()
    if len(material) > BLOCK_BYTES:
        material = hashlib.sha256(material).digest()
    padded = material.ljust(BLOCK_BYTES, b"\0")
    for setting, byte in ((INNER, 0x36), (OUTER, 0x5C)):
        half = bytes(part ^ byte for part in padded).hex()
        register(half)
        postgres.rows(source, "SELECT set_config(%s, %s, true)", (setting, half))
    return hmac.new(material, b"fingerprint", hashlib.sha256).hexdigest()[:FINGERPRINT_CHARACTERS]


def hashed(expression: Composable) -> Composable:
    """Return the SQL of a value's hash, in hexadecimal; null stays null."""
    return sql.SQL(
        "encode(sha256(decode(current_setting({outer}), 'hex') || sha256("
        "decode(current_setting({inner}), 'hex') || convert_to(({value})::text, 'UTF8'))), 'hex')"
    ).format(outer=sql.Literal(OUTER), inner=sql.Literal(INNER), value=expression)


def empty(type_: Composable) -> Composable:
    """Return the SQL of a value that is always null."""
    return sql.SQL("NULL::{}").format(type_)
