"""Public keys, to which files are encrypted: no private key, no agent and no trust are needed."""

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pipeline.crypt import packets
from pipeline.crypt.digest import Digest, Recipient
from pipeline.crypt.gpg import Gpg, OnBytes, complaint, home, require_done
from pipeline.errors import ProblemsError, StepError
from pipeline.system import ownership

EXPIRES_SOON = timedelta(days=30)
# No compression: the dump has its own. MDC guards integrity where a key does not ask for AEAD.
ENCRYPTION = ["--cipher-algo", "AES256", "--compress-algo", "none", "--force-mdc"]
AES256 = "9"
# Of keys: what every gpg reads.
GNUPG_VERSION = 4


def expiring(recipients: Iterable[Recipient], now: datetime) -> dict[str, str]:
    """Return, by fingerprint, what is to be said of each key that expires soon."""
    return {
        one.fingerprint: f"key {one.user_id} ({one.fingerprint[-16:]}) expires on {one.expires_at:%Y-%m-%d}; "
        "replace it with one that expires later"
        for one in recipients
        if one.expires_at and one.expires_at - now < EXPIRES_SOON
    }


class Keyring:
    """Public keys, each usable now. `warnings` tells those that expire soon."""

    def __init__(self, gpg: Gpg, recipients: tuple[Recipient, ...], now: datetime) -> None:
        self._gpg = gpg
        self.recipients = recipients
        self.warnings = tuple(expiring(recipients, now).values())

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
        require_done(result, f"{source.name} could not be encrypted")
        _require_protected(result, source.name)
        if plain.size_bytes != source.stat().st_size or encrypted.size_bytes <= plain.size_bytes:
            raise StepError(f"{source.name} could not be encrypted: gpg did not read all of it")
        return plain, encrypted


@contextlib.contextmanager
def keyring(paths: Sequence[Path], *, now: datetime, folder: Path) -> Iterator[Keyring]:
    """Give the body a keyring with the key in each of `paths`, in a throw-away home in `folder`.

    No private key, no agent and no trust are needed. Raise ProblemsError, with all problems, if a file is
    missing, holds no public key or several, or one that is expired, revoked or cannot encrypt.
    """
    with home(folder) as gpg:
        problems: list[str] = []
        recipients = [one for path in paths if (one := _recipient(gpg, path, now, problems))]
        fingerprints = [one.fingerprint for one in recipients]
        for twice in {each for each in fingerprints if fingerprints.count(each) > 1}:
            problems.append(f"key {twice} is named twice in [backup] recipients; name another one instead")
        if problems:
            raise ProblemsError(problems)
        yield Keyring(gpg, tuple(recipients), now)


def _recipient(gpg: Gpg, path: Path, now: datetime, problems: list[str]) -> Recipient | None:
    """Import the key of one file, and return it unless there is something wrong with it."""
    where = f"recipient {path}"
    try:
        data = path.read_bytes()
        why_not = ownership.changeable(path)
    except OSError as error:
        problems.append(
            f"{where}: cannot be read: {error.strerror}; put a public key there, or correct luigi.cfg"
        )
        return None
    if b"PRIVATE KEY" in data:
        why_not = "is a private key; remove it from this machine, and put the public one there"
    elif why_not:
        why_not = f"it decides who can decrypt backups, and {why_not}"
    if why_not:
        problems.append(f"{where}: {why_not}")
        return None
    scanned = gpg.scan_keys(str(path))
    fingerprints = [one["fingerprint"] for one in scanned]
    if len(fingerprints) != 1:
        problems.append(f"{where}: {_not_one(data, fingerprints)}")
        return None
    imported = gpg.import_keys_file(str(path))
    listed = gpg.list_keys(keys=fingerprints)
    if not listed:
        message = complaint(imported)
        # Seconds since 1970. gpg has no status of its own for where a clock is in the past.
        if int(scanned[0]["date"]) <= now.timestamp():
            raise StepError(f"{where}: gpg could not import the key: {message}")
        problems.append(f"{where}: was made in the future ({message}); set this machine's clock")
        return None
    key = listed[0]
    expires_at = _expiry(key)
    if problem := _problem(key, expires_at, now):
        problems.append(f"{where}: {key['uids'][0]}: {problem}; put another public key there")
        return None
    return Recipient(fingerprint=fingerprints[0], user_id=key["uids"][0], expires_at=expires_at)


def _not_one(data: bytes, fingerprints: Sequence[str]) -> str:
    """Say what a file holds that is not one key to gpg: several, or one of a version unknown to it."""
    newest = max(packets.key_versions(data), default=0)
    if not fingerprints and newest > GNUPG_VERSION:
        standard = {5: " (LibrePGP)", 6: " (RFC 9580)"}.get(newest, "")
        return (
            f"its key is of OpenPGP version {newest}{standard}, which GnuPG here cannot use; ask its owner "
            "for a key of version 4: made by gpg, or by a newer tool with its profile for RFC 4880 (sq key "
            "generate --profile rfc4880)"
        )
    what = "several public keys" if fingerprints else "no public key"
    return f"holds {what}; put the one public key there (gpg --armor --export NAME)"


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
    return None if "E" in key["cap"] and "D" not in key["cap"] else "cannot be used to encrypt at present"


def _require_protected(result: Any, name: str) -> None:
    # BEGIN_ENCRYPTION <mdc method> <cipher> [<aead>]
    begun = re.search(r"^\[GNUPG:\] BEGIN_ENCRYPTION (\d+) (\d+)(?: (\d+))?", result.stderr, re.MULTILINE)
    if begun is None or begun[2] != AES256 or not (int(begun[1]) or int(begun[3] or 0)):
        raise StepError(
            f"{name} was encrypted without AES-256 or integrity protection",
            hint="check gpg's configuration",
        )
