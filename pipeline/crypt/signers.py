"""The public keys whose signatures count: a file of ours, so that they are there when Vault is not."""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ProblemsError, StepError
from pipeline.system import ownership

# As Vault's transit engine writes them, but anybody may have: Python refuses numbers that have no end.
SIGNATURE = re.compile(r"vault:v(\d{1,9}):([A-Za-z0-9+/]{86}==)")
KEY_BYTES = 32
LINE = "DATABASE VERSION KEY"


@dataclass(frozen=True)
class Signers:
    """The versions of each database's key, by their numbers in Vault; a key is 32 bytes of Ed25519.

    Older versions stay, so that what they have signed counts; one whose line is gone counts no more.
    """

    path: Path
    keys: Mapping[str, Mapping[int, bytes]]

    def newest(self, database: str) -> int:
        """Return the version to sign with: the newest in the file. Raise StepError if there is none.

        Not the newest in Vault, with which a night would begin before every machine has its line.
        """
        known = self.keys.get(database)
        if not known:
            raise StepError(
                f"{self.path}: has no key of {database}, so its backups cannot be signed",
                hint="'pipeline check' prints the line to write there",
                retryable=False,
            )
        return max(known)

    def lacking(self, database: str, there: Mapping[int, str]) -> list[str]:
        """Return the lines that the file lacks of the versions of a key, in base64, that Vault has.

        None of an older version than the file has: somebody may have taken that out.

        >>> Signers(Path("signers"), {"hr": {2: b""}}).lacking("hr", {1: "AAA=", 2: "BBB=", 3: "CCC="})
        ['hr 3 CCC=']
        """
        newest = max(self.keys.get(database, {}), default=0)
        return [line(database, version, key) for version, key in sorted(there.items()) if version > newest]

    def unknown(self, database: str, there: Mapping[int, str], key: str) -> list[str]:
        """Return what to type where the newest line is of no version that `key`, a path in Vault, has.

        As that of a Vault that was set up anew, or restored from before the key was changed: the same number
        may be another version. The line stays, for what it has signed.

        >>> known = Signers(Path("signers"), {"hr": {1: b"one"}})
        >>> known.unknown("hr", {1: "b25l"}, "keys/hr"), known.unknown("hr", {1: "dHdv", 2: ""}, "keys/hr")
        ([], [])
        >>> known.unknown("hr", {1: "dHdv"}, "keys/hr")[0].partition("; ")[2]
        'type: bao write -f keys/hr/rotate, until it has version 2, then run this again for its line'
        """
        known = self.keys.get(database, {})
        newest = max(known, default=0)
        # Of one that is newer in Vault, `lacking` has the line.
        if not newest or newest < max(there, default=newest + 1):
            return []
        if there.get(newest) == base64.b64encode(known[newest]).decode():
            return []
        return [
            f"{self.path}: its version {newest} of {database} is not one of {key} in Vault; type: "
            f"bao write -f {key}/rotate, until it has version {newest + 1}, then run this again for its "
            "line"
        ]

    def hold(self, database: str, signature: str, signed: bytes) -> bool:
        """Whether this is a signature of the database's key, in a version of the file, for these bytes."""
        # Slow to import, and loading does not need it.
        from nacl.exceptions import CryptoError  # noqa: PLC0415
        from nacl.signing import VerifyKey  # noqa: PLC0415

        written = SIGNATURE.fullmatch(signature)
        key = self.keys.get(database, {}).get(int(written[1])) if written else None
        if written is None or key is None:
            return False
        try:
            VerifyKey(key).verify(signed, base64.b64decode(written[2]))
        except CryptoError:
            return False
        return True


def line(database: str, version: int, key: str) -> str:
    """Return the line of a key, which is in base64, as Vault shows it."""
    return f"{database} {version} {key}"


def read_signers(path: Path, *, may_lack: bool = False) -> Signers:
    """Return what a file says: a line `DATABASE VERSION KEY` for each key; # begins a remark.

    Raise ProblemsError, with all that is wrong in it. With `may_lack` a file that is not there has no lines.
    """
    if may_lack and not path.is_file():
        return Signers(path, {})
    try:
        text = path.read_text(encoding="utf-8")
        why_not = ownership.changeable(path)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "is not text"
        raise ProblemsError(
            [
                f"[backup] signers: {path}: cannot be read: {why}; put the public keys there, a line {LINE} "
                "each: 'pipeline check' prints them"
            ]
        ) from None
    if why_not:
        raise ProblemsError(
            [f"[backup] signers: {path}: it decides which backups count as ours, and {why_not}"]
        )
    problems: list[str] = []
    keys: dict[str, dict[int, bytes]] = {}
    for number, written in enumerate(text.splitlines(), 1):
        words = written.partition("#")[0].split()
        if not words:
            continue
        key = _key(words)
        if key is None:
            problems.append(
                f"{path}:{number}: is not a valid line; write {LINE}, with a key of Ed25519 in base64"
            )
        elif int(words[1]) in keys.setdefault(words[0], {}):
            problems.append(f"{path}:{number}: version {words[1]} of {words[0]} is listed twice; remove one")
        else:
            keys[words[0]][int(words[1])] = key
    if problems:
        raise ProblemsError(problems)
    return Signers(path, keys)


def _key(words: list[str]) -> bytes | None:
    try:
        _, version, key = words
        decoded = base64.b64decode(key, validate=True)
    except (ValueError, binascii.Error):
        return None
    return decoded if version.isdecimal() and len(decoded) == KEY_BYTES else None
