"""Private keys, which open files: each in the memory of an agent of its own, for as long as it is needed."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from pipeline.crypt.digest import Digest
from pipeline.crypt.gpg import Gpg, OnBytes, complaint, home, require_done
from pipeline.errors import CheckError, StepError
from pipeline.redact import register
from pipeline.system import room

# gpg's words: it tells of each key that a file is for and that it does not have, and of the one that it has.
NO_SECRET_KEY, KEY_FOUND = "NO_SECKEY", "DECRYPTION_KEY"


class PrivateKey:
    """A private key in memory of a throw-away agent."""

    def __init__(self, gpg: Gpg, passphrase: str | None) -> None:
        self._gpg, self._passphrase = gpg, passphrase

    def decrypt(self, source: Path, target: Path, on_bytes: OnBytes = lambda _size: None) -> Digest:
        """Decrypt a file into a new one (0600), and return what came out.

        Raise CheckError if it is damaged or not for this key, StepError if gpg fails otherwise. What `target`
        then holds must not be used: gpg writes plaintext before it knows that it was tampered with.
        """
        result, _, plain = self._gpg.pass_through(
            source, target, on_bytes, lambda file: self._gpg.decrypt_file(file, passphrase=self._passphrase)
        )
        if NO_SECRET_KEY in result.stderr and KEY_FOUND not in result.stderr:
            raise CheckError(
                f"{source.name} is not encrypted to this private key",
                hint="use the one that it was encrypted to",
            )
        failed = result.returncode is not None and result.returncode > 0
        # Without room for its own files it tells nothing of this one.
        if failed and not room.lacking(Path(self._gpg.gnupghome)):
            raise CheckError(f"{source.name} could not be decrypted: {complaint(result)}")
        require_done(result, f"{source.name} could not be decrypted")
        return plain


@contextlib.contextmanager
def private_key(armored: str, *, passphrase: str | None = None, folder: Path) -> Iterator[PrivateKey]:
    """Give the body a private key in a throw-away home in `folder`. Its agent is ended afterwards.

    Raise StepError if it is none. Until the end of the block the key lies in that home, which is in memory
    where the system has a folder for that.
    """
    register(armored)
    with home(folder, agent=True) as gpg:
        imported = gpg.import_keys(armored, passphrase=passphrase)
        if not imported.sec_imported:
            raise StepError(
                "the entry in Vault is not a private key, or its passphrase is wrong",
                hint="write the correct key and passphrase there",
                retryable=False,
            )
        yield PrivateKey(gpg, passphrase)


def new_key_pair(name: str, email: str, *, expires: str, folder: Path) -> tuple[str, str]:
    """Make a key pair for trying things out, and return its public and its private half, armored.

    `expires` is as gpg takes it: `2y`, `30d`, `seconds=5`, `0` for never.
    """
    with home(folder, agent=True) as gpg:
        made = gpg.gen_key(
            gpg.gen_key_input(
                key_type="EDDSA",
                key_curve="ed25519",
                key_usage="cert,sign",
                subkey_type="ECDH",
                subkey_curve="cv25519",
                name_real=name,
                name_email=email,
                expire_date=expires,
                no_protection=True,
            )
        )
        if not made.fingerprint:
            raise StepError(f"gpg made no key: {complaint(made)}")
        private = gpg.export_keys(made.fingerprint, secret=True, expect_passphrase=False)
        register(private)
        return gpg.export_keys(made.fingerprint), private
