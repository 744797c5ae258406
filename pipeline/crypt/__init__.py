"""OpenPGP through gpg, in throw-away homes: the only user of python-gnupg.

Nothing is believed on the library's word alone: it says "encryption ok" of a file that was cut short.
"""

from pipeline.crypt.digest import Digest, Recipient
from pipeline.crypt.gpg import HOME_PREFIX, sweep
from pipeline.crypt.private import PrivateKey, new_key_pair, private_key
from pipeline.crypt.public import EXPIRES_SOON, Keyring, expiring, keyring

__all__ = [
    "EXPIRES_SOON",
    "HOME_PREFIX",
    "Digest",
    "Keyring",
    "PrivateKey",
    "Recipient",
    "expiring",
    "keyring",
    "new_key_pair",
    "private_key",
    "sweep",
]
