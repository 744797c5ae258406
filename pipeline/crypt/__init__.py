"""OpenPGP through gpg, in throw-away homes: the only user of python-gnupg. And whose signatures count.

Nothing is believed on the library's word alone: it says "encryption ok" of a file that was cut short.
"""

from pipeline.crypt.digest import Digest, Recipient
from pipeline.crypt.gpg import HOME_PREFIX, sweep
from pipeline.crypt.private import PrivateKey, new_key_pair, private_key
from pipeline.crypt.public import EXPIRES_SOON, Keyring, expiring, keyring
from pipeline.crypt.signers import Signers, line, read_signers

__all__ = [
    "EXPIRES_SOON",
    "HOME_PREFIX",
    "Digest",
    "Keyring",
    "PrivateKey",
    "Recipient",
    "Signers",
    "expiring",
    "keyring",
    "line",
    "new_key_pair",
    "private_key",
    "read_signers",
    "sweep",
]
