"""The bucket as the rest of the pipeline sees it."""

import hashlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from b2sdk.v3 import BucketRetentionSetting, RetentionMode, RetentionPeriod

from pipeline.bucket import copying, download, rules
from pipeline.bucket.connection import Connection
from pipeline.bucket.download import Sink
from pipeline.bucket.listing import cancel, list_objects, list_unfinished, list_versions, newest
from pipeline.bucket.objects import Progress, Stored, Unfinished, Version
from pipeline.bucket.parts import PART_SIZE_BYTES
from pipeline.bucket.upload import Label, Upload, write_bytes
from pipeline.errors import CheckError, StepError, UnreachableError
from pipeline.retry import RetryPolicy

LARGEST_SMALL_BYTES = 16 * 1024 * 1024
BINARY = "application/octet-stream"


def connect(
    key_id: str,
    application_key: str,
    bucket_name: str,
    *,
    realm: str | None = None,
    retries: RetryPolicy | None = None,
) -> "Bucket":
    """Return the bucket, opened with an application key, which stays in memory.

    `realm` is B2's own unless it is given (a URL). Raise UnreachableError if B2 does not answer within
    `retries`, refuses the key, or has no such bucket for it.
    """
    return Bucket(Connection(key_id, application_key, bucket_name, realm, retries or RetryPolicy()))


class Bucket:
    """A bucket and a key. Methods raise UnreachableError where the key may not or B2 does not answer."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __enter__(self) -> "Bucket":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    @property
    def name(self) -> str:
        """The bucket's name."""
        return self._connection.bucket_name

    @property
    def capabilities(self) -> frozenset[str]:
        """What the key may do."""
        return self._connection.capabilities

    def upload(
        self,
        path: Path,
        name: str,
        *,
        sha256: str,
        content_type: str = BINARY,
        info: Mapping[str, str] | None = None,
        retain_until: datetime | None = None,
        progress: Progress | None = None,
        rate_limit_bytes_per_second: int | None = None,
        threads: int = 4,
        part_size_bytes: int = PART_SIZE_BYTES,
    ) -> Stored:
        """Upload a file, going on where an earlier attempt was cut, and return the object.

        The same content under the same name is done already; other content raises StepError. Leftovers of
        earlier attempts at this name are cancelled. `retain_until` locks this object (compliance) and needs
        writeFileRetentions; leave it out where the bucket locks by default.
        """
        label = Label(name, sha256, content_type, retain_until, info or {})
        return Upload(
            self._connection,
            path,
            label,
            progress=progress,
            rate_limit_bytes_per_second=rate_limit_bytes_per_second,
            threads=threads,
            part_size_bytes=part_size_bytes,
        ).run()

    def write_small(
        self,
        name: str,
        data: bytes,
        *,
        content_type: str,
        info: Mapping[str, str] | None = None,
        retain_until: datetime | None = None,
        replace: bool = False,
    ) -> Stored:
        """Upload bytes from memory. As `upload`, but `replace` puts a new version over other content."""
        sha256 = hashlib.sha256(data).hexdigest()
        label = Label(name, sha256, content_type, retain_until, info or {})
        return write_bytes(self._connection, data, label, replace=replace)

    def find(self, name: str) -> Stored | None:
        """Return the object of that name, None if there is none or it is hidden. Needs listFiles."""
        return newest(self._connection, name)

    def list(self, prefix: str = "") -> Iterator[Stored]:
        """Return the objects whose names start with `prefix`, by name, a page at a time. Needs listFiles."""
        return list_objects(self._connection, prefix)

    def versions(self, prefix: str = "") -> Iterator[Version]:
        """Return all versions of the names that start with `prefix`, the newest of each first.

        Needs listFiles.
        """
        return list_versions(self._connection, prefix)

    def download(
        self,
        name: str,
        path: Path,
        *,
        sha256: str,
        progress: Progress | None = None,
        threads: int = 4,
    ) -> Stored:
        """Download an object to `path` (mode 0600), which appears only if its SHA-256 is `sha256`.

        Raise CheckError if it is not, StepError if there is no such object or no room. Needs readFiles and
        listFiles.
        """
        object_ = self._existing(name)
        download.download(self._connection, object_, path, sha256=sha256, progress=progress, threads=threads)
        return object_

    def read(self, name: str, sink: Sink, *, progress: Progress | None = None) -> str:
        """Hand an object to `sink` piece by piece, in order, and return its SHA-256. Memory is bounded."""
        return download.read_all(self._connection, self._existing(name), sink, progress)

    def verify(
        self, name: str, *, sha256: str, size_bytes: int | None = None, progress: Progress | None = None
    ) -> Stored:
        """Read an object back, all of it. Raise CheckError unless it has this SHA-256 (and size)."""
        object_ = self._sized(name, size_bytes)
        actual = download.read_all(self._connection, object_, lambda _: None, progress)
        download.require(self._connection, object_, actual, sha256)
        return object_

    def verify_sample(
        self, name: str, path: Path, *, samples: int = 16, progress: Progress | None = None
    ) -> Stored:
        """Compare ranges of a huge object with the file it was made from. Raise CheckError if one differs."""
        object_ = self._sized(name, path.stat().st_size)
        download.compare_samples(self._connection, object_, path, samples=samples, progress=progress)
        return object_

    def read_small(self, name: str) -> bytes:
        """Return a small object (16 MiB at most), compared with its own SHA-256 if it has one."""
        object_ = self._existing(name)
        if object_.size_bytes > LARGEST_SMALL_BYTES:
            raise StepError(
                f"bucket {self.name}: {name} has {object_.size_bytes:,} bytes, the limit of a small "
                f"object is {LARGEST_SMALL_BYTES:,}",
                hint="check who uploaded it",
            )
        pieces: list[bytes] = []
        actual = download.read_all(self._connection, object_, pieces.append, None)
        download.require(self._connection, object_, actual, object_.sha256 or actual)
        return b"".join(pieces)

    def copy(self, source: Stored, name: str) -> Stored:
        """Have B2 copy an object to another name; the same content there is done already.

        The copy has the info of the source, and the bucket's lock from now on. Needs writeFiles, readFiles
        and listFiles.
        """
        return copying.copy(self._connection, source, name)

    def hide(self, name: str) -> None:
        """Hide an object, if it is there, for the bucket's rules to remove. Needs writeFiles, listFiles."""
        copying.hide(self._connection, name)

    def unfinished(self, prefix: str = "") -> tuple[Unfinished, ...]:
        """Return the uploads that were started and not finished. Needs listFiles."""
        return tuple(list_unfinished(self._connection, prefix))

    def cancel_unfinished(self, prefix: str, *, started_before: datetime | None = None) -> tuple[str, ...]:
        """Cancel unfinished uploads and return their names. Needs listFiles and writeFiles."""
        chosen = [
            upload
            for upload in self.unfinished(prefix)
            if started_before is None or upload.started_at < started_before
        ]
        for upload in chosen:
            cancel(self._connection, upload)
        return tuple(upload.name for upload in chosen)

    def inspect(self) -> rules.BucketState:
        """Return the lifecycle rules and the lock. Needs listBuckets; for the lock readBucketRetentions."""
        connection = self._connection

        def ask() -> list[rules.BucketState]:
            account_id = connection.session.account_info.get_account_id()
            answer = connection.session.list_buckets(account_id, bucket_id=connection.bucket_id)
            return [rules.state(one) for one in answer["buckets"]]

        states: list[rules.BucketState] = connection.call("read its settings", ask, needs="listBuckets")
        if not states:
            raise UnreachableError(f"bucket {self.name}: the bucket no longer exists")
        return states[0]

    def apply(self, *, keep_days: int, lock_days: int | None) -> rules.BucketState:
        """Set lifecycle rules and, unless `lock_days` is None, the default lock. Needs an ADMIN key.

        Object Lock cannot be turned off again. Raise StepError if the bucket has rules of somebody else.
        """
        before = self.inspect()
        others = rules.foreign(before.rules)
        if others:
            raise StepError(
                f"bucket {self.name}: it has lifecycle rules for {', '.join(others)}, which ours would "
                "overlap",
                hint="remove them, or give backups a bucket of their own",
            )
        if lock_days is not None and before.lock_enabled is None:
            raise UnreachableError(
                f"bucket {self.name}: key {self._connection.key_id} may not read its lock: it lacks "
                "readBucketRetentions",
                hint="make a key with that capability",
            )
        wanted = [dict(rule) for rule in rules.desired_rules(keep_days)]
        self._update("set its lifecycle rules", "writeBuckets", lifecycle_rules=wanted)
        if lock_days is not None:
            self._lock(before, lock_days)
        return self.inspect()

    def _lock(self, before: rules.BucketState, lock_days: int) -> None:
        needs = ("writeBuckets", "writeBucketRetentions")
        if not before.lock_enabled:
            self._update("turn its Object Lock on", needs, is_file_lock_enabled=True)
        retention = BucketRetentionSetting(RetentionMode.COMPLIANCE, RetentionPeriod(days=lock_days))
        self._update("set its default lock", needs, default_retention=retention)

    def _update(self, what: str, needs: str | tuple[str, ...], **settings: Any) -> None:
        connection = self._connection

        def update() -> None:
            account_id = connection.session.account_info.get_account_id()
            connection.session.update_bucket(account_id, connection.bucket_id, **settings)

        connection.call(what, update, needs=needs)

    def _existing(self, name: str) -> Stored:
        stored = self.find(name)
        if stored is None:
            raise StepError(
                f"bucket {self.name}: there is no {name}",
                hint="'pipeline backups' lists the backups",
            )
        return stored

    def _sized(self, name: str, size_bytes: int | None) -> Stored:
        object_ = self._existing(name)
        if size_bytes is not None and object_.size_bytes != size_bytes:
            raise CheckError(
                f"bucket {self.name}: {name} is damaged: it has {object_.size_bytes} bytes instead of "
                f"{size_bytes}",
                hint="use another backup, and find out who changed this one",
            )
        return object_
