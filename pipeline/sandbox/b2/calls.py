"""The JSON calls of the native API: check access, then ask the simulator."""

import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from b2sdk.v3 import BucketRetentionSetting, FileRetentionSetting, RetentionMode
from b2sdk.v3.exception import BadJson, BadRequest, FileNotPresent

from pipeline.sandbox.b2 import copying, lifecycle
from pipeline.sandbox.b2.access import NEEDS, Key
from pipeline.sandbox.b2.disk_bucket import DiskBucket
from pipeline.sandbox.b2.faults import Faults
from pipeline.sandbox.b2.simulator import Simulator
from pipeline.sandbox.b2.storage import Storage

# What B2 itself answers.
MINIMUM_PART_SIZE_BYTES = 5_000_000
RECOMMENDED_PART_SIZE_BYTES = 100_000_000
MAXIMUM_PARTS = 10_000

Body = dict[str, Any]


class Emulator:
    """One account: its storage, keys, faults and the lock around each call. `url` is set once it listens."""

    def __init__(self, home: Path, *, part_size_bytes: int = MINIMUM_PART_SIZE_BYTES) -> None:
        self.storage = Storage(home)
        self.faults = Faults()
        self.lock = threading.RLock()
        self.part_size_bytes = part_size_bytes
        self.url = ""
        account = dict(self.storage.load("account"))
        if not account:
            account = {secrets.token_hex(6): {}}
            self.storage.save("account", next(iter(account)), {})
        self.simulator = Simulator(self.storage, next(iter(account)), part_size_bytes)
        self.access = self.simulator.access

    def authorize(self, key_id: str, secret: str) -> Body:
        """Answer b2_authorize_account."""
        token, key = self.access.log_in(key_id, secret)
        return {
            "accountId": self.simulator.account_id,
            "authorizationToken": token,
            "applicationKeyExpirationTimestamp": key.expires_at_milliseconds,
            "apiInfo": {
                "storageApi": {
                    "infoType": "storageApi",
                    "apiUrl": self.url,
                    "downloadUrl": self.url,
                    "s3ApiUrl": self.url,
                    "absoluteMinimumPartSize": self.part_size_bytes,
                    "recommendedPartSize": max(self.part_size_bytes, RECOMMENDED_PART_SIZE_BYTES),
                    "allowed": self._allowed(key),
                }
            },
        }

    def _allowed(self, key: Key) -> Body:
        known = self.simulator.bucket_id_to_bucket
        buckets = None
        if key.bucket_ids is not None:
            names = [known[id_].bucket_name if id_ in known else None for id_ in key.bucket_ids]
            buckets = [{"id": id_, "name": name} for id_, name in zip(key.bucket_ids, names, strict=True)]
        return {
            "buckets": buckets,
            "capabilities": list(key.capabilities),
            "namePrefix": key.name_prefix,
        }

    def call(self, name: str, token: str, body: Body) -> Body:
        """Answer any other JSON call. Raise what the SDK has for B2's errors."""
        answer = CALLS.get(name)
        if answer is None:
            raise BadRequest(f"the emulator does not implement {name}", "bad_request")
        with self.lock:
            self.access.token(token)
            self._check(name, token, body)
            try:
                return answer(self, token, body)
            except KeyError as error:
                raise BadJson(f"required field {error} is missing") from None

    def _check(self, name: str, token: str, body: Body) -> None:
        if "sourceFileId" in body:
            copying.check(self.simulator, self.access, token, name, body)
            return
        bucket_id = body.get("bucketId")
        file_name = body.get(NEEDS[name].name_argument or "")
        if "fileId" in body:
            bucket_id = self.simulator.file_id_to_bucket_id.get(body["fileId"])
            if bucket_id is None:
                raise _no_file(name, body["fileId"])
            file_name = self.simulator.bucket(bucket_id).file(body["fileId"]).name
        elif name == "b2_list_buckets" and bucket_id is None:
            wanted = self.simulator.bucket_name_to_bucket.get(body.get("bucketName"))
            bucket_id = wanted and wanted.bucket_id
        self.access.check(token, name, bucket_id=bucket_id, name=file_name)
        if name == "b2_update_bucket" and {"defaultRetention", "fileLockEnabled"} & set(body):
            self.access.check(token, name, bucket_id=bucket_id, name=None, capability="writeBucketRetentions")
        if name == "b2_start_large_file" and body.get("fileRetention"):
            self.access.check(
                token, name, bucket_id=bucket_id, name=file_name, capability="writeFileRetentions"
            )

    def bucket_of(self, body: Body) -> DiskBucket:
        """Return the bucket that a call is about, by its own id or by that of a file in it."""
        if "fileId" in body:
            return self.simulator.bucket(self.simulator.file_id_to_bucket_id[body["fileId"]])
        return self.simulator.bucket(body["bucketId"])

    def described(self, token: str, bucket: DiskBucket) -> Body:
        """Return a bucket as b2_list_buckets shows it."""
        return {**bucket.bucket_dict(token), "options": []}


def _no_file(name: str, file_id: str) -> Any:
    unfinished = name in {"b2_finish_large_file", "b2_cancel_large_file", "b2_list_parts"}
    if unfinished or name == "b2_get_upload_part_url":
        return BadRequest(f"No active upload for: {file_id}", "bad_request")
    return FileNotPresent(file_id_or_name=file_id)


def _list_buckets(emulator: Emulator, token: str, body: Body) -> Body:
    wanted_id, wanted_name = body.get("bucketId"), body.get("bucketName")
    buckets = [
        bucket
        for name, bucket in sorted(emulator.simulator.bucket_name_to_bucket.items())
        if wanted_id in {None, bucket.bucket_id} and wanted_name in {None, name}
    ]
    return {"buckets": [emulator.described(token, bucket) for bucket in buckets]}


def _create_bucket(emulator: Emulator, token: str, body: Body) -> Body:
    rules = body.get("lifecycleRules") or []
    lifecycle.check(rules)
    locked = bool(body.get("fileLockEnabled"))
    return emulator.described(
        token, emulator.simulator.new_bucket(body["bucketName"], lock=locked, rules=rules)
    )


def _update_bucket(emulator: Emulator, token: str, body: Body) -> Body:
    bucket = emulator.bucket_of(body)
    rules = body.get("lifecycleRules")
    lifecycle.check(rules or [])
    retention = body.get("defaultRetention")
    setting = retention and BucketRetentionSetting.from_bucket_retention_dict({"period": None, **retention})
    if retention and not (bucket.is_file_lock_enabled or body.get("fileLockEnabled")):
        raise BadRequest("default retention needs file lock", "bad_request")
    emulator.simulator.current_token = token  # the simulator shows the bucket to whom this is
    bucket._update_bucket(
        bucket_type=body.get("bucketType"),
        bucket_info=body.get("bucketInfo"),
        lifecycle_rules=rules,
        if_revision_is=body.get("ifRevisionIs"),
        default_retention=setting,
        is_file_lock_enabled=body.get("fileLockEnabled"),
    )
    bucket.save()
    return emulator.described(token, bucket)


def _delete_bucket(emulator: Emulator, token: str, body: Body) -> Body:
    bucket = emulator.bucket_of(body)
    described = emulator.described(token, bucket)
    emulator.simulator.remove_bucket(bucket)
    return described


def _create_key(emulator: Emulator, _token: str, body: Body) -> Body:
    ids = body.get("bucketIds")
    key, secret = emulator.access.create_key(
        body["keyName"],
        tuple(body["capabilities"]),
        bucket_ids=None if ids is None else tuple(ids),
        name_prefix=body.get("namePrefix"),
        valid_seconds=body.get("validDurationInSeconds"),
    )
    return {**key.described(emulator.simulator.account_id), "applicationKey": secret}


def _list_keys(emulator: Emulator, _token: str, body: Body) -> Body:
    start, limit = body.get("startApplicationKeyId") or "", body.get("maxKeyCount") or 100
    keys = [key for key_id, key in sorted(emulator.access.keys.items()) if key_id >= start]
    following = keys[limit].key_id if len(keys) > limit else None
    listed = [key.described(emulator.simulator.account_id) for key in keys[:limit]]
    return {"keys": listed, "nextApplicationKeyId": following}


def _list_names(emulator: Emulator, token: str, body: Body) -> Body:
    return emulator.bucket_of(body).list_file_names(
        token, body.get("startFileName"), body.get("maxFileCount"), body.get("prefix")
    )


def _list_versions(emulator: Emulator, token: str, body: Body) -> Body:
    start = body.get("startFileName"), body.get("startFileId")
    return emulator.bucket_of(body).list_file_versions(
        token, *start, body.get("maxFileCount"), body.get("prefix")
    )


def _list_unfinished(emulator: Emulator, token: str, body: Body) -> Body:
    listed: Body = emulator.bucket_of(body).list_unfinished_large_files(
        token, body.get("startFileId"), body.get("maxFileCount"), body.get("namePrefix")
    )
    return listed


def _list_parts(emulator: Emulator, _token: str, body: Body) -> Body:
    file = emulator.bucket_of(body).unfinished(body["fileId"])
    parts: Body = file.list_parts(body.get("startPartNumber"), body.get("maxPartCount"))
    return parts


def _upload_url(emulator: Emulator, token: str, body: Body) -> Body:
    bucket = emulator.bucket_of(body)
    file_id = body.get("fileId")
    if file_id is not None:
        bucket.unfinished(file_id)
    upload_token = emulator.access.upload_token(token, bucket_id=bucket.bucket_id, file_id=file_id)
    call = "b2_upload_file" if file_id is None else "b2_upload_part"
    target = f"{bucket.bucket_id}/{file_id or 'file'}/{secrets.token_hex(4)}"
    ids = {"bucketId": bucket.bucket_id} if file_id is None else {"fileId": file_id}
    url = f"{emulator.url}/b2api/v4/{call}/{target}"
    return {**ids, "uploadUrl": url, "authorizationToken": upload_token}


def _update_retention(emulator: Emulator, token: str, body: Body) -> Body:
    value = body["fileRetention"]
    setting = FileRetentionSetting(RetentionMode(value["mode"]), value.get("retainUntilTimestamp"))
    bypass = bool(body.get("bypassGovernance"))
    bucket = emulator.bucket_of(body)
    return bucket.update_file_retention(token, body["fileId"], body["fileName"], setting, bypass)


CALLS: dict[str, Callable[[Emulator, str, Body], Body]] = {
    "b2_cancel_large_file": lambda e, _, b: e.bucket_of(b).cancel_large_file(b["fileId"]),
    "b2_copy_file": lambda e, t, b: copying.copy_file(e.simulator, t, b),
    "b2_copy_part": lambda e, _, b: copying.copy_part(e.simulator, b),
    "b2_create_bucket": _create_bucket,
    "b2_create_key": _create_key,
    "b2_delete_bucket": _delete_bucket,
    "b2_delete_file_version": lambda e, t, b: e.bucket_of(b).delete_file_version(
        t, b["fileId"], b["fileName"], bool(b.get("bypassGovernance"))
    ),
    "b2_delete_key": lambda e, _, b: e.access.delete_key(b["applicationKeyId"]).described(
        e.simulator.account_id
    ),
    "b2_finish_large_file": lambda e, t, b: e.bucket_of(b).finish_large_file(
        t, b["fileId"], b["partSha1Array"]
    ),
    "b2_get_file_info": lambda e, t, b: e.bucket_of(b).file(b["fileId"]).as_upload_result(t),
    "b2_get_upload_part_url": _upload_url,
    "b2_get_upload_url": _upload_url,
    "b2_hide_file": lambda e, t, b: e.bucket_of(b).hide_file(t, b["fileName"]),
    "b2_list_buckets": _list_buckets,
    "b2_list_file_names": _list_names,
    "b2_list_file_versions": _list_versions,
    "b2_list_keys": _list_keys,
    "b2_list_parts": _list_parts,
    "b2_list_unfinished_large_files": _list_unfinished,
    "b2_start_large_file": lambda e, t, b: e.bucket_of(b).start(t, b),
    "b2_update_bucket": _update_bucket,
    "b2_update_file_retention": _update_retention,
}
