"""Copies that B2 makes itself, of a whole file or of a range of one as a part of another."""

import hashlib
import re
from typing import Any

from b2sdk.v3 import SSE_B2_AES
from b2sdk.v3.exception import BadRequest, FileNotPresent

from pipeline.sandbox.b2.access import Access
from pipeline.sandbox.b2.disk_bucket import DiskBucket
from pipeline.sandbox.b2.simulator import Simulator
from pipeline.sandbox.b2.storage import Content
from pipeline.sandbox.b2.versions import DiskFile, retention_of

# What B2 itself answers.
LARGEST_BYTES = 5_000_000_000
RANGE = re.compile(r"bytes=(\d+)-(\d+)")

Body = dict[str, Any]


def check(simulator: Simulator, access: Access, token: str, name: str, body: Body) -> None:
    """Require that a key may read the source and write what is made of it."""
    source = _source(simulator, body)
    target = _target(simulator, source, body)
    named = body.get("fileName")
    if "largeFileId" in body:
        named = target.unfinished(body["largeFileId"]).name
    access.check(token, name, bucket_id=target.bucket_id, name=named)
    access.check(token, name, bucket_id=source.bucket.bucket_id, name=source.name, capability="readFiles")
    if body.get("fileRetention"):
        access.check(token, name, bucket_id=target.bucket_id, name=named, capability="writeFileRetentions")


def copy_file(simulator: Simulator, token: str, body: Body) -> Body:
    """Answer b2_copy_file: a new file of the same bytes, with the same info unless that is replaced."""
    source = _source(simulator, body)
    target = _target(simulator, source, body)
    first, end = _range(body, source)
    if end - first > LARGEST_BYTES:
        raise BadRequest(f"Copy source too big: {end - first}", "bad_request")
    replaced = body.get("metadataDirective") == "REPLACE"
    if not replaced and (body.get("contentType") or body.get("fileInfo")):
        raise BadRequest("contentType and fileInfo need metadataDirective REPLACE", "bad_request")
    lock = target.retention_for(retention_of(body.get("fileRetention")))
    whole = (first, end) == (0, len(source.data_bytes))
    file_id = target._next_file_id()
    place, size, sha1 = _bytes(simulator, source, first, end, file_id, 1)
    file = DiskFile(
        target.account_id,
        target,
        file_id,
        "upload",
        body["fileName"],
        body["contentType"] if replaced else source.content_type,
        source.content_sha1 if whole else sha1,
        (body.get("fileInfo") or {}) if replaced else dict(source.file_info),
        Content(((place, size),)),
        simulator.storage.now_milliseconds(),
        server_side_encryption=SSE_B2_AES,
        file_retention=lock,
    )
    target.keep(file)
    result: Body = file.as_upload_result(token)
    return result


def copy_part(simulator: Simulator, body: Body) -> Body:
    """Answer b2_copy_part."""
    source = _source(simulator, body)
    target = _target(simulator, source, body)
    first, end = _range(body, source)
    number, file_id = body["partNumber"], body["largeFileId"]
    incoming = simulator.storage.incoming / f"{file_id}-{number}"
    size, sha1 = _write(source, first, end, incoming)
    return target.receive_part(file_id, number, sha1, incoming, size)


def _source(simulator: Simulator, body: Body) -> DiskFile:
    bucket_id = simulator.file_id_to_bucket_id.get(body["sourceFileId"])
    if bucket_id is None:
        raise FileNotPresent(file_id_or_name=body["sourceFileId"])
    file = simulator.bucket(bucket_id).file(body["sourceFileId"])
    if file.action != "upload":
        raise BadRequest("the source is not a file", "bad_request")
    return file


def _target(simulator: Simulator, source: DiskFile, body: Body) -> DiskBucket:
    if "largeFileId" in body:
        bucket_id = simulator.file_id_to_bucket_id.get(body["largeFileId"])
        if bucket_id is None:
            raise BadRequest(f"No active upload for: {body['largeFileId']}", "bad_request")
        return simulator.bucket(bucket_id)
    return simulator.bucket(body.get("destinationBucketId") or source.bucket.bucket_id)


def _range(body: Body, source: DiskFile) -> tuple[int, int]:
    """Return the first byte, and the one behind the last."""
    whole = len(source.data_bytes)
    if not body.get("range"):
        return 0, whole
    asked = RANGE.fullmatch(body["range"])
    if asked is None or not int(asked[1]) <= int(asked[2]) < whole:
        raise BadRequest(f"the range {body['range']} is not in the source", "bad_request")
    return int(asked[1]), int(asked[2]) + 1


def _bytes(
    simulator: Simulator, source: DiskFile, first: int, end: int, file_id: str, number: int
) -> tuple[Any, int, str]:
    incoming = simulator.storage.incoming / f"{file_id}-{number}"
    size, sha1 = _write(source, first, end, incoming)
    return simulator.storage.adopt(incoming, file_id, number), size, sha1


def _write(source: DiskFile, first: int, end: int, path: Any) -> tuple[int, str]:
    digest = hashlib.sha1(usedforsecurity=False)
    with path.open("wb") as file:
        for piece in source.data_bytes.read(first, end):
            digest.update(piece)
            file.write(piece)
    return end - first, digest.hexdigest()
