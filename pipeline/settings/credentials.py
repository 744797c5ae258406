"""Tells a credential from a setting, so that one written into a settings file is refused."""

import re

_KEYS = ("password", "passwd", "passphrase", "token", "secret_id", "private_key", "api_key", "credential")
_VALUES = re.compile(
    r"""
    ://[^/\s:@]*:[^/\s@]+@              # a URI with a password in it
    | \b(ssl)?(password|passwd|pwd)\s*=\s*\S   # a connection string with one
    | \bhv[sbr]\.\w{8,}                 # a token of Vault
    | -----BEGIN\ [A-Z\ ]*PRIVATE       # a private key
    | \beyJ[\w-]+\.[\w-]+\.             # a JWT
    """,
    re.VERBOSE | re.IGNORECASE,
)


def key_names_credential(key: str) -> bool:
    """Whether a key called `key` would hold a credential."""
    return re.sub(r"[-.]", "_", key.lower()).endswith(_KEYS)


def value_holds_credential(value: str) -> bool:
    """Whether `value` looks as if a credential were in it."""
    return _VALUES.search(value) is not None
