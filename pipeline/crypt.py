"""OpenPGP through gpg, in throw-away homes: the only user of python-gnupg.

Nothing is believed on the library's word alone: it says "encryption ok" of a file that was cut short.
"""

import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import gnupg

from pipeline import command, scratch
from pipeline.errors import CheckError, ProblemsError, StepError
from pipeline.manifest import Digest, Recipient
from pipeline.redact import redact, register

BUFFER_BYTES = 64 * 1024
ERROR_LINES = 4
SCRATCH = "scratch-"
MEMORY = "/dev/shm"  # noqa: S108 - a folder of our own is made in it
EXPIRES_SOON = timedelta(days=30)
# No compression: the dump has its own. MDC guards integrity where a key does not ask for AEAD.
ENCRYPTION = ["--cipher-algo", "AES256", "--compress-algo", "none", "--force-mdc"]
AES256 = "9"
# gpg's words: it tells of each key that a file is for and that it does not have, and of the one that it has.
NO_SECRET_KEY, KEY_FOUND = "NO_SECKEY", "DECRYPTION_KEY"

OnBytes = Callable[[int], None]


class Keyring:
    """Public keys, each usable now. `warnings` tells those that expire soon."""

    def __init__(self, gpg: "_Gpg", recipients: tuple[Recipient, ...], now: datetime) -> None:
        self._gpg = gpg
        self.recipients = recipients
        self.warnings = tuple(
            f"key {one.user_id} ({one.fingerprint[-16:]}) expires on {one.expires_at:%Y-%m-%d}; "
            "put a longer-lived one in its place"
            for one in recipients
            if one.expires_at and one.expires_at - now < EXPIRES_SOON
        )

    def encrypt(
        self, source: Path, target: Path, on_bytes: OnBytes = lambda _size: None
    ) -> tuple[Digest, Digest]:
        """Encrypt a file to every recipient into a new one (0600); return what went in and what came out.

        Raise StepError if gpg fails, is killed, or there is no room; `target` may then be left, cut short.
        """
        result, plain, encrypted = self._gpg.pass_through(
            source,
            target,
            on_bytes,
            lambda file: self._gpg.encrypt_file(
                file,
                [one.fingerprint for one in self.recipients],
                always_trust=True,
                armor=False,
                extra_args=ENCRYPTION,
            ),
        )
        _require_done(result, f"{source.name} could not be encrypted")
        _require_protected(result, source.name)
        if plain.size_bytes != source.stat().st_size or encrypted.size_bytes <= plain.size_bytes:
            raise StepError(f"{source.name} could not be encrypted: gpg did not take all of it")
        return plain, encrypted


@contextlib.contextmanager
def keyring(paths: Sequence[Path], *, now: datetime, folder: Path) -> Iterator[Keyring]:
    """Give the body a keyring with the key in each of `paths`, in a throw-away home in `folder`.

    No private key, no agent and no trust are needed. Raise ProblemsError, with all problems, if a file is
    missing, holds no public key or several, or one that is expired, revoked or cannot encrypt.
    """
    with _home(folder) as gpg:
        problems: list[str] = []
        found = [one for path in paths if (one := _recipient(gpg, path, now, problems))]
        fingerprints = [one.fingerprint for one in found]
        for twice in {each for each in fingerprints if fingerprints.count(each) > 1}:
            problems.append(f"key {twice} is named twice in [backup] recipients; name another in its place")
        if problems:
            raise ProblemsError(problems)
        yield Keyring(gpg, tuple(found), now)


def _recipient(gpg: "_Gpg", path: Path, now: datetime, problems: list[str]) -> Recipient | None:
    """Import the key of one file, and return it unless there is something wrong with it."""
    where = f"recipient {path}"
    try:
        data = path.read_bytes()
    except OSError as error:
        problems.append(
            f"{where}: cannot be read: {error.strerror}; put a public key there, or correct luigi.cfg"
        )
        return None
    if b"PRIVATE KEY" in data:
        problems.append(
            f"{where}: is a private key; remove it from this machine, and put the public one there"
        )
        return None
    fingerprints = [one["fingerprint"] for one in gpg.scan_keys(str(path))]
    if len(fingerprints) != 1:
        what = "several public keys" if fingerprints else "no public key"
        problems.append(f"{where}: holds {what}; put the one public key there (gpg --armor --export NAME)")
        return None
    imported = gpg.import_keys_file(str(path))
    listed = gpg.list_keys(keys=fingerprints)
    if not listed:
        raise StepError(f"{where}: gpg could not take the key: {_complaint(imported)}")
    key = listed[0]
    expires_at = _expiry(key)
    if problem := _problem(key, expires_at, now):
        problems.append(f"{where}: {key['uids'][0]}: {problem}; put another public key there")
        return None
    return Recipient(fingerprint=fingerprints[0], user_id=key["uids"][0], expires_at=expires_at)


def _encrypting(key: Any) -> list[Any]:
    parts = [{**key, "cap": re.sub("[A-Z]", "", key["cap"])}, *key.get("subkey_info", {}).values()]
    return [part for part in parts if "e" in part["cap"] and part["trust"] not in ("r", "i", "d")]


def _expiry(key: Any) -> datetime | None:
    """Return when the key as a whole stops being able to encrypt, None for never."""
    latest: list[float] = [float(part["expires"] or "inf") for part in _encrypting(key)]
    end = min(float(key["expires"] or "inf"), max(latest, default=float("inf")))
    return None if end == float("inf") else datetime.fromtimestamp(end, UTC)


def _problem(key: Any, expires_at: datetime | None, now: datetime) -> str | None:
    if key["trust"] == "r":
        return "is revoked"
    if expires_at is not None and expires_at <= now:
        return f"expired on {expires_at:%Y-%m-%d}"
    if not _encrypting(key):
        return "cannot encrypt: it has no key for that"
    # Capital letters are what gpg itself can do with it at this moment.
    return None if "E" in key["cap"] and "D" not in key["cap"] else "cannot be used to encrypt now"


class PrivateKey:
    """A private key in memory of a throw-away agent."""

    def __init__(self, gpg: "_Gpg", passphrase: str | None) -> None:
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
                f"{source.name} is not encrypted to this private key; take the one it is meant for"
            )
        if result.returncode is not None and result.returncode > 0 and not _no_room(result):
            raise CheckError(f"{source.name} could not be decrypted: {_complaint(result)}")
        _require_done(result, f"{source.name} could not be decrypted")
        return plain


@contextlib.contextmanager
def private_key(armored: str, *, passphrase: str | None = None, folder: Path) -> Iterator[PrivateKey]:
    """Give the body a private key in a throw-away home in `folder`. Its agent is ended afterwards.

    Raise StepError if it is none. Until the end of the block the key lies in that home, which is in memory
    where the system has a folder for that.
    """
    register(armored)
    with _home(folder, agent=True) as gpg:
        imported = gpg.import_keys(armored, passphrase=passphrase)
        if not imported.sec_imported:
            raise StepError(
                "the private key from Vault is none, or its passphrase is wrong; write the right ones"
            )
        yield PrivateKey(gpg, passphrase)


def new_key_pair(name: str, email: str, *, expires: str, folder: Path) -> tuple[str, str]:
    """Make a key pair for trying things out, and return its public and its private half, armored.

    `expires` is as gpg takes it: `2y`, `30d`, `seconds=5`, `0` for never.
    """
    with _home(folder, agent=True) as gpg:
        made = gpg.gen_key(
            gpg.gen_key_input(
                key_type="EDDSA", key_curve="ed25519", key_usage="cert,sign", subkey_type="ECDH",
                subkey_curve="cv25519", name_real=name, name_email=email, expire_date=expires,
                no_protection=True,
            )
        )  # fmt: skip
        if not made.fingerprint:
            raise StepError(f"gpg made no key: {_complaint(made)}")
        private = gpg.export_keys(made.fingerprint, secret=True, expect_passphrase=False)
        register(private)
        return gpg.export_keys(made.fingerprint), private


class _Gpg(gnupg.GPG):  # type: ignore[misc] # the library is untyped
    """The library's class, with files passed through it that are hashed on their way."""

    def pass_through(
        self, source: Path, target: Path, on_bytes: OnBytes, work: Callable[[BinaryIO], Any]
    ) -> tuple[Any, Digest, Digest]:
        """Run `work` on a source that is hashed as it is read; return the digests of what came in and out."""
        results: list[Any] = []
        kind = gnupg.GPG.result_map["crypt"]
        # The result is lost where the library raises, and with it what gpg said.

        def remembered(gpg: Any) -> Any:
            results.append(kind(gpg))
            return results[-1]

        self.result_map = {**gnupg.GPG.result_map, "crypt": remembered}
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb", buffering=0) as output, source.open("rb") as opened:
            reader, writer = _Reader(opened, on_bytes), _Writer(output)
            self.on_data: Callable[[bytes], bool] | None = writer.write
            broken: OSError | None = None
            try:
                work(reader)  # type: ignore[arg-type] # it only needs read()
            except OSError as error:
                broken = error
            finally:
                self.on_data = None
            result = results[-1]
            self._require_written(result, target, broken)
            os.fsync(descriptor)
        return result, reader.digest, writer.digest

    @staticmethod
    def _require_written(result: Any, target: Path, broken: OSError | None) -> None:
        failure = getattr(result, "on_data_failure", None)
        if isinstance(failure, OSError):
            raise StepError(
                f"{target}: cannot be written: {failure.strerror}; make room in {target.parent}"
            ) from failure
        if failure is not None:
            raise failure
        if broken is not None and not isinstance(broken, BrokenPipeError):
            raise StepError(f"gpg: {broken.strerror or broken}") from broken
        if broken is not None and result.returncode in (0, None):
            raise StepError(f"gpg ended before it had read everything: {_complaint(result)}")


class _Reader:
    """A file that is hashed as it is read."""

    def __init__(self, file: BinaryIO, on_bytes: OnBytes) -> None:
        self._file, self._on_bytes = file, on_bytes
        self._hash, self._size = hashlib.sha256(), 0

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size)
        self._hash.update(piece)
        self._size += len(piece)
        self._on_bytes(len(piece))
        return piece

    @property
    def digest(self) -> Digest:
        return Digest(size_bytes=self._size, sha256=self._hash.hexdigest())


class _Writer:
    """A file that is hashed as it is written; what cannot be written is an OSError that the library keeps."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._hash, self._size, self._failed = file, hashlib.sha256(), 0, False

    def write(self, piece: bytes) -> bool:
        """Take a piece; False tells the library not to keep it in memory."""
        if not self._failed:
            self._failed = True
            rest = memoryview(piece)
            while rest:
                rest = rest[self._file.write(rest) :]
            self._failed = False
            self._hash.update(piece)
            self._size += len(piece)
        return False

    @property
    def digest(self) -> Digest:
        return Digest(size_bytes=self._size, sha256=self._hash.hexdigest())


@contextlib.contextmanager
def _home(folder: Path, *, agent: bool = False) -> Iterator[_Gpg]:
    """Give the body a gpg with an empty home, and remove that; no agent is started, or none is left."""
    with _agents_home(folder) if agent else tempfile.TemporaryDirectory(prefix=SCRATCH, dir=folder) as home:
        options = ["--batch", "--no-tty", *([] if agent else ["--no-autostart"])]
        yield _started(home, options)


def _started(home: str, options: Sequence[str]) -> "_Gpg":
    environment = {**os.environ, "LC_ALL": "C", "GNUPGHOME": home}
    try:
        gpg = _Gpg(gnupghome=home, options=list(options), env=environment)
    except OSError as error:
        raise StepError(
            f"gpg cannot be started: {error.strerror or error}; install gpg and gpg-agent"
        ) from error
    gpg.encoding = "utf-8"
    gpg.buffer_size = BUFFER_BYTES
    return gpg


@contextlib.contextmanager
def _agents_home(folder: Path) -> Iterator[str]:
    """Give the body a home with room for an agent; that of a process that was killed is removed first."""
    # An agent's sockets must have short names, and a private key is best kept in memory only.
    memory = Path(MEMORY) if os.access(MEMORY, os.W_OK | os.X_OK) else folder
    with scratch.folder(memory, f"pipeline-{SCRATCH}", _end_agent) as home:
        yield str(home)


def _end_agent(home: Path) -> None:
    # Not asked (gpgconf --kill): it would take its time, with the private key in its memory all the while.
    command.kill_started_with(home)


def _no_room(result: Any) -> bool:
    return "No space left" in result.stderr


def _complaint(result: Any) -> str:
    lines = [line for line in (result.stderr or "").splitlines() if not line.startswith("[GNUPG:]")]
    return redact("; ".join(lines[-ERROR_LINES:])) or result.status or "it said nothing"


def _require_done(result: Any, what: str) -> None:
    if result.returncode is not None and result.returncode < 0:
        raise StepError(f"{what}: gpg was ended by signal {-result.returncode}")
    if not result.ok or result.returncode != 0:
        raise StepError(f"{what}: {_complaint(result)}")


def _require_protected(result: Any, name: str) -> None:
    # BEGIN_ENCRYPTION <mdc method> <cipher> [<aead>]
    begun = re.search(r"^\[GNUPG:\] BEGIN_ENCRYPTION (\d+) (\d+)(?: (\d+))?", result.stderr, re.MULTILINE)
    if begun is None or begun[2] != AES256 or not (int(begun[1]) or int(begun[3] or 0)):
        raise StepError(
            f"{name} was encrypted without AES-256 or without integrity protection; look at gpg's setup"
        )
