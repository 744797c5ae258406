"""What the control endpoint does: provisioning as an administrator of B2 would, time, damage and faults."""

import shutil
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from b2sdk.v3.exception import FileNotPresent

from pipeline.sandbox.b2 import lifecycle
from pipeline.sandbox.b2.calls import Emulator
from pipeline.sandbox.b2.storage import Content
from pipeline.sandbox.b2.versions import DiskFile

Body = dict[str, Any]


def _create_bucket(emulator: Emulator, body: Body) -> Body:
    known = emulator.simulator.bucket_name_to_bucket.get(body["name"])
    bucket = known or emulator.simulator.new_bucket(body["name"], lock=bool(body.get("lock")), rules=[])
    return {"bucket_id": bucket.bucket_id}


def _remove_bucket(emulator: Emulator, body: Body) -> Body:
    emulator.simulator.remove_bucket(emulator.simulator.named(body["name"]), with_content=True)
    return {}


def _create_key(emulator: Emulator, body: Body) -> Body:
    bucket = body.get("bucket")
    ids = None if bucket is None else (emulator.simulator.named(bucket).bucket_id,)
    key, secret = emulator.access.create_key(
        body["name"],
        tuple(body["capabilities"]),
        bucket_ids=ids,
        name_prefix=body.get("name_prefix"),
        valid_seconds=body.get("valid_seconds"),
    )
    return {"key_id": key.key_id, "application_key": secret}


def _delete_key(emulator: Emulator, body: Body) -> Body:
    emulator.access.delete_key(body["key_id"])
    return {}


def _expire_tokens(emulator: Emulator, _body: Body) -> Body:
    return {"expired": emulator.access.expire_tokens()}


def _advance(emulator: Emulator, body: Body) -> Body:
    if "seconds" in body:
        emulator.storage.move_clock(int(body["seconds"] * 1000))
        return {}
    return dict(lifecycle.advance(emulator.simulator, body["days"]))


def _fault(emulator: Emulator, body: Body) -> Body:
    emulator.faults.add(body)
    return {}


def _clear(emulator: Emulator, _body: Body) -> Body:
    emulator.faults.clear()
    return {}


def _calls(emulator: Emulator, _body: Body) -> Body:
    waiting = [asdict(fault) for fault in emulator.faults.waiting]
    return {"calls": emulator.faults.recorded(), "faults": waiting}


def _versions(emulator: Emulator, body: Body) -> Body:
    return {"versions": [_shown(file) for file in emulator.simulator.named(body["bucket"]).versions()]}


def _shown(file: DiskFile) -> Body:
    return {
        "name": file.name,
        "file_id": file.file_id,
        "action": file.action,
        "size_bytes": 0 if file.data_bytes is None else len(file.data_bytes),
        "locked_until": file.locked_until(),
    }


def _file(emulator: Emulator, body: Body) -> DiskFile:
    file = emulator.simulator.named(body["bucket"]).visible(body["name"])
    if file is None:
        raise FileNotPresent(file_id_or_name=body["name"])
    return file


def _corrupt(emulator: Emulator, body: Body) -> Body:
    path, offset = _file(emulator, body).data_bytes.locate(body.get("offset", 0))
    with path.open("r+b") as segment:
        segment.seek(offset)
        (byte,) = segment.read(1)
        segment.seek(offset)
        segment.write(bytes([byte ^ 1]))
    return {}


def _truncate(emulator: Emulator, body: Body) -> Body:
    file, left = _file(emulator, body), int(body["size_bytes"])
    kept = []
    for path, size in file.data_bytes.segments:
        kept.append((path, min(size, left)))
        left -= kept[-1][1]
    file.data_bytes = Content(tuple(segment for segment in kept if segment[1] > 0))
    file.content_length = len(file.data_bytes)
    file.bucket.keep(file)
    return {}


def _replace(emulator: Emulator, body: Body) -> Body:
    """Put another object's content in place of this one's, as somebody with all rights might."""
    file, other = _file(emulator, body), _file(emulator, {**body, "name": body["other"]})
    segments = []
    for number, (path, size) in enumerate(other.data_bytes.segments, start=1):
        shutil.copyfile(path, emulator.storage.segment(file.file_id, number))
        segments.append((emulator.storage.segment(file.file_id, number), size))
    file.data_bytes = Content(tuple(segments))
    file.bucket.keep(file)
    return {}


COMMANDS: dict[str, Callable[[Emulator, Body], Body]] = {
    "advance": _advance,
    "calls": _calls,
    "clear": _clear,
    "corrupt": _corrupt,
    "create_bucket": _create_bucket,
    "create_key": _create_key,
    "delete_key": _delete_key,
    "expire_tokens": _expire_tokens,
    "fault": _fault,
    "remove_bucket": _remove_bucket,
    "replace": _replace,
    "truncate": _truncate,
    "versions": _versions,
}
