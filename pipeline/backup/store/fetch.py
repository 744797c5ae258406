"""A backup brought here: downloaded, compared with its SHA-256, and only then decrypted."""

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline import crypt
from pipeline.access import Access
from pipeline.backup.store.manifest import File, Manifest
from pipeline.bucket import Bucket
from pipeline.crypt import PrivateKey
from pipeline.errors import CheckError, StepError, UnreachableError

# Is told the phase, how much of it is done (from 0 to 1), and a message.
Show = Callable[[str, float, str], None]
MEGABYTE = 1e6


def no_progress(_phase: str, _share: float, _message: str) -> None:
    """Show nothing."""


@dataclass
class Progress:
    """How long each phase took, in seconds and in their order; whoever waits is shown how they get on."""

    show: Show
    seconds: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[Callable[[float, str], None]]:
        """Time a phase; yield what tells how much of it is done."""
        begun = time.monotonic()
        self.show(name, 0.0, "")
        try:
            yield lambda share, message: self.show(name, share, message)
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - begun


@dataclass(frozen=True)
class Fetched:
    """The dump, in plain, and the roles beside it. `encrypted` is the dump as it came."""

    dump: Path
    globals_sql: str = field(repr=False)
    encrypted: Path


@dataclass(frozen=True)
class Key:
    """The entry of Vault with the private key."""

    private_key: str = field(repr=False)
    passphrase: str | None = field(repr=False)

    def opened(self, folder: Path) -> contextlib.AbstractContextManager[PrivateKey]:
        """Put it into a throw-away home of gpg."""
        return crypt.private_key(self.private_key, passphrase=self.passphrase, folder=folder)


def key(databases: Access) -> Key:
    """Return the private key that [restore] names. Raise UnreachableError if Vault has none there."""
    secret = databases.settings.require_restore().key_secret
    entry: Mapping[str, str] = databases.vault.read(secret)
    if not entry.get("private_key"):
        raise UnreachableError(
            f"Vault: {secret} has no private_key",
            hint="write the output of gpg --armor --export-secret-keys there",
        )
    return Key(entry["private_key"], entry.get("passphrase") or None)


def fetch(bucket: Bucket, proven: Manifest, private: Key, folder: Path, progress: Progress) -> Fetched:
    """Bring dump and roles of a backup into `folder`, which is private.

    Raise CheckError if an object is not what was uploaded, or is not for this key; StepError if there is no
    room.
    """
    _require_room(proven, folder)
    files = (proven.globals, proven.dump)
    paths = [folder / Path(file.name).name for file in files]
    for file, path in zip(files, paths, strict=True):
        _download(bucket, file, path, progress)
    with progress.phase("decrypt") as report, private.opened(folder) as opened:
        plain = [_decrypt(opened, file, path, report) for file, path in zip(files, paths, strict=True)]
    return Fetched(dump=plain[1], globals_sql=plain[0].read_text(encoding="utf-8"), encrypted=paths[1])


def _require_room(proven: Manifest, folder: Path) -> None:
    needed = sum(file.encrypted.size_bytes + file.plain.size_bytes for file in (proven.dump, proven.globals))
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StepError(
            f"{folder.parent}: {free:,} bytes are free, and restoring {proven.database} {proven.run} "
            f"needs {needed:,}",
            hint="make room there, or set another [backup] work_dir",
        )


def _download(bucket: Bucket, file: File, path: Path, progress: Progress) -> None:
    """Download and hash an object: two phases, though the bucket does them in one."""
    whole = max(file.encrypted.size_bytes, 1)
    begun = time.monotonic()
    arrived = begun
    with progress.phase("download") as report:

        def on_bytes(done: int, _all: int) -> None:
            nonlocal arrived
            arrived = time.monotonic()
            report(done / whole, f"{done / MEGABYTE:,.0f} of {whole / MEGABYTE:,.0f} MB")

        bucket.download(file.name, path, sha256=file.encrypted.sha256, progress=on_bytes)
    hashing = time.monotonic() - arrived
    progress.seconds["download"] -= hashing
    progress.seconds["hash"] = progress.seconds.get("hash", 0.0) + hashing


def _decrypt(opened: PrivateKey, file: File, path: Path, report: Callable[[float, str], None]) -> Path:
    done, whole = 0, max(file.encrypted.size_bytes, 1)

    def on_bytes(size: int) -> None:
        nonlocal done
        done += size
        report(min(done / whole, 1.0), f"{done / MEGABYTE:,.0f} of {whole / MEGABYTE:,.0f} MB")

    plain = path.with_suffix("")
    decrypted = opened.decrypt(path, plain, on_bytes)
    if decrypted != file.plain:
        raise CheckError(
            f"{file.name}: the decrypted file differs from the dump (SHA-256 {decrypted.sha256[:12]}... "
            f"instead of {file.plain.sha256[:12]}...)",
            hint="use another backup, and find out who wrote this one",
        )
    return plain
