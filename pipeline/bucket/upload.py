"""Uploads: large files in parts that are sent at most once, whatever happened to the last attempt."""

import io
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from b2sdk.v3 import LARGE_FILE_SHA1, FileRetentionSetting, RetentionMode, hex_sha1_of_bytes
from b2sdk.v3.exception import BadRequest, FileNotPresent

from pipeline.bucket.connection import Connection
from pipeline.bucket.listing import cancel, list_parts, list_unfinished, newest
from pipeline.bucket.objects import SHA256_INFO, Progress, Stored, Unfinished, stored, to_milliseconds
from pipeline.bucket.parallel import in_parallel
from pipeline.bucket.parts import PART_SIZE_BYTES, Meter, Part, PartBody, hashes_of, part_sha1, parts_of
from pipeline.bucket.throttle import Throttle
from pipeline.errors import ANOTHER_RUN, StepError


@dataclass(frozen=True)
class Label:
    """What an object is called and said to be."""

    name: str
    sha256: str
    content_type: str
    retain_until: datetime | None = None
    info: Mapping[str, str] = field(default_factory=dict)

    @property
    def file_info(self) -> dict[str, str]:
        """What is kept beside the object."""
        return {**self.info, SHA256_INFO: self.sha256}

    @property
    def retention(self) -> Any:
        """The object's own lock, None for the bucket's default."""
        if self.retain_until is None:
            return None
        return FileRetentionSetting(RetentionMode.COMPLIANCE, to_milliseconds(self.retain_until))

    @property
    def needs(self) -> tuple[str, ...]:
        """The capabilities that writing it takes."""
        return ("writeFiles",) if self.retain_until is None else ("writeFiles", "writeFileRetentions")


def write_bytes(connection: Connection, data: bytes, label: Label, *, replace: bool) -> Stored:
    """Upload a small object from memory. `replace` puts a new version over one with other content."""

    def send() -> Stored:
        existing = _same(connection, label, len(data), replace=replace)
        if existing is not None:
            return existing
        return stored(
            connection.session.upload_file(
                connection.bucket_id,
                label.name,
                len(data),
                label.content_type,
                hex_sha1_of_bytes(data),
                label.file_info,
                io.BytesIO(data),
                file_retention=label.retention,
            )
        )

    sent: Stored = connection.call(f"upload {label.name}", send, needs=label.needs)
    return sent


def _same(connection: Connection, label: Label, size_bytes: int, *, replace: bool = False) -> Stored | None:
    """Return the object if it is there with the same content, None if there is none (or it may go).

    Asked again before each attempt: an upload whose answer got lost must not make a second version.
    """
    existing = newest(connection, label.name)
    if existing is None or (existing.sha256 == label.sha256 and existing.size_bytes == size_bytes):
        return existing
    if replace:
        return None
    raise StepError(
        f"bucket {connection.bucket_name}: {label.name} exists already with other content "
        f"(uploaded {existing.uploaded_at:%Y-%m-%d %H:%M} UTC), and nothing is overwritten",
        hint="leave it there",
        retryable=False,
        again=ANOTHER_RUN,
    )


class Upload:
    """One file on its way to the bucket."""

    def __init__(
        self,
        connection: Connection,
        path: Path,
        label: Label,
        *,
        progress: Progress | None = None,
        rate_limit_bytes_per_second: int | None = None,
        threads: int = 4,
        part_size_bytes: int = PART_SIZE_BYTES,
    ) -> None:
        self._connection = connection
        self._path = path
        self._label = label
        self._threads = threads
        self._size = path.stat().st_size
        self._parts = parts_of(self._size, max(part_size_bytes, connection.minimum_part_size_bytes))
        self._meter = Meter(progress, self._size)
        self._throttle = Throttle(rate_limit_bytes_per_second)
        self._stop = threading.Event()

    def run(self) -> Stored:
        """Upload, going on where an earlier attempt ended. Raise StepError if the file is another one."""
        hashes = hashes_of(self._path)
        if hashes.sha256 != self._label.sha256:
            raise StepError(
                f"{self._path}: its SHA-256 has changed since it was encrypted",
                hint="encrypt it again",
            )
        stored = _same(self._connection, self._label, self._size)
        if stored is None:
            descriptor = os.open(self._path, os.O_RDONLY)
            try:
                large = len(self._parts) > 1
                stored = self._large(descriptor, hashes.sha1) if large else self._small(descriptor)
            finally:
                self._stop.set()
                os.close(descriptor)
        for left in list(list_unfinished(self._connection, self._label.name)):
            if left.name == self._label.name:
                cancel(self._connection, left)
        return stored

    def _body(self, descriptor: int, part: Part) -> PartBody:
        return PartBody(
            self._path, descriptor, part, meter=self._meter, throttle=self._throttle, stop=self._stop
        )

    def _small(self, descriptor: int) -> Stored:
        body = self._body(descriptor, self._parts[0])

        def send() -> Stored:
            existing = _same(self._connection, self._label, self._size)
            if existing is not None:
                return existing
            body.seek(0)
            return stored(
                self._connection.session.upload_file(
                    self._connection.bucket_id,
                    self._label.name,
                    len(body),
                    self._label.content_type,
                    "hex_digits_at_end",
                    self._label.file_info,
                    body,
                    file_retention=self._label.retention,
                )
            )

        sent: Stored = self._connection.call(f"upload {self._label.name}", send, needs=self._label.needs)
        return sent

    def _large(self, descriptor: int, sha1: str) -> Stored:
        file_id, sha1_by_part = self._resumed(descriptor) or (self._started(sha1), {})
        for part in self._parts:
            if part.number in sha1_by_part:
                self._meter.add(part.size_bytes)

        def send(part: Part) -> None:
            sha1_by_part[part.number] = self._send(descriptor, file_id, part)

        missing = [part for part in self._parts if part.number not in sha1_by_part]
        in_parallel(self._threads, [lambda part=part: send(part) for part in missing], self._stop)  # type: ignore[misc]
        return self._finish(file_id, [sha1_by_part[part.number] for part in self._parts])

    def _send(self, descriptor: int, file_id: str, part: Part) -> str:
        body = self._body(descriptor, part)

        def send() -> str:
            body.seek(0)
            self._connection.session.upload_part(file_id, part.number, len(body), "hex_digits_at_end", body)
            return body.sha1

        what = f"upload part {part.number} of {len(self._parts)} of {self._label.name}"
        sent: str = self._connection.call(what, send, needs="writeFiles", stop=self._stop)
        return sent

    def _started(self, sha1: str) -> str:
        def start() -> str:
            answer = self._connection.session.start_large_file(
                self._connection.bucket_id,
                self._label.name,
                self._label.content_type,
                {**self._label.file_info, LARGE_FILE_SHA1: sha1},
                file_retention=self._label.retention,
            )
            return str(answer["fileId"])

        started: str = self._connection.call(
            f"start the upload of {self._label.name}", start, needs=self._label.needs
        )
        return started

    def _resumed(self, descriptor: int) -> tuple[str, dict[int, str]] | None:
        """Return the best unfinished upload of this very content and its parts, and cancel all others.

        The SDK's own search compares the lock as well, which a key without readFileRetentions cannot see:
        it would start anew each time, and say nothing.
        """
        best: tuple[Unfinished, dict[int, str]] | None = None
        for upload in list(list_unfinished(self._connection, self._label.name)):
            if upload.name != self._label.name:
                continue
            parts = self._usable_parts(descriptor, upload) if upload.sha256 == self._label.sha256 else None
            if parts is None or (best is not None and len(parts) <= len(best[1])):
                cancel(self._connection, upload)
                continue
            if best is not None:
                cancel(self._connection, best[0])
            best = upload, parts
        return None if best is None else (best[0].file_id, best[1])

    def _usable_parts(self, descriptor: int, upload: Unfinished) -> dict[int, str] | None:
        """Return the SHA-1 of each part that is there, None if they are not parts of this file as cut now."""
        planned = {part.number: part for part in self._parts}
        sha1s: dict[int, str] = {}
        for answer in list_parts(self._connection, upload):
            part = planned.get(answer["partNumber"])
            if part is None or part.size_bytes != answer["contentLength"]:
                return None
            if part_sha1(descriptor, part) != answer["contentSha1"]:
                return None
            sha1s[part.number] = answer["contentSha1"]
        return sha1s

    def _finish(self, file_id: str, sha1s: list[str]) -> Stored:
        def finish() -> Stored:
            try:
                return stored(self._connection.session.finish_large_file(file_id, sha1s))
            except (BadRequest, FileNotPresent):
                # Finished already, by an attempt whose answer got lost?
                existing = _same(self._connection, self._label, self._size)
                if existing is None:
                    raise
                return existing

        done: Stored = self._connection.call(
            f"finish the upload of {self._label.name}", finish, needs="writeFiles"
        )
        return done
