"""The account of the SDK's simulator, fixed: its buckets survive a restart, and access is checked before."""

import re
from typing import Any

from b2sdk.v3 import (
    BucketRetentionSetting,
    RawSimulator,
    hex_sha1_of_bytes,
)
from b2sdk.v3.exception import (
    BadRequest,
    DuplicateBucketName,
    NonExistentBucket,
)

from pipeline.sandbox.b2.access import Access
from pipeline.sandbox.b2.disk_bucket import DiskBucket
from pipeline.sandbox.b2.storage import Storage

BUCKET_NAME = re.compile(r"(?!b2-)[A-Za-z0-9-]{6,63}")


class Simulator(RawSimulator):  # type: ignore[misc]
    """The account. Callers check access first (`access`) and hold one lock around each call."""

    BUCKET_SIMULATOR_CLASS = DiskBucket

    def __init__(self, storage: Storage, account_id: str, part_size_bytes: int) -> None:
        super().__init__()
        self.storage = storage
        self.account_id = account_id
        self.part_size_bytes = part_size_bytes
        self.access = Access(storage, account_id)
        for bucket_id, body in storage.load("bucket"):
            self._add(DiskBucket(self, account_id, bucket_id, body["name"], body["type"]), body)
        for file_id, body in storage.load("file"):
            self.bucket_id_to_bucket[body["bucket_id"]].restore(file_id, body)
        storage.sweep(set(self.file_id_to_bucket_id))

    def _add(self, bucket: DiskBucket, body: dict[str, Any]) -> None:
        bucket.bucket_info = body["info"]
        bucket.lifecycle_rules = body["lifecycle_rules"]
        bucket.is_file_lock_enabled = body["lock"]
        retention = {"period": None, **body["retention"]}
        bucket.default_retention = BucketRetentionSetting.from_bucket_retention_dict(retention)
        bucket.revision = body["revision"]
        self.bucket_name_to_bucket[bucket.bucket_name] = bucket
        self.bucket_id_to_bucket[bucket.bucket_id] = bucket

    def new_bucket(self, name: str, *, lock: bool, rules: list[dict[str, Any]]) -> DiskBucket:
        """Make a private bucket."""
        if BUCKET_NAME.fullmatch(name) is None:
            raise BadRequest(f"invalid bucket name: {name}", "bad_request")
        if name.lower() in {known.lower() for known in self.bucket_name_to_bucket}:
            raise DuplicateBucketName(name)
        number = self.storage.count("bucket")
        bucket_id = hex_sha1_of_bytes(f"{self.account_id}/{number}".encode())[:24]
        bucket = DiskBucket(self, self.account_id, bucket_id, name, "allPrivate")
        body = {
            "info": {},
            "lifecycle_rules": rules,
            "lock": lock,
            "retention": {"mode": None},
            "revision": 1,
        }
        self._add(bucket, body)
        bucket.save()
        return bucket

    def remove_bucket(self, bucket: DiskBucket, *, with_content: bool = False) -> None:
        """Remove a bucket; one that holds files only if told so (it vanished, as far as clients can see)."""
        if bucket.file_id_to_file and not with_content:
            raise BadRequest("the bucket is not empty", "cannot_delete_non_empty_bucket")
        for file in bucket.versions():
            bucket.drop(file)
        del self.bucket_name_to_bucket[bucket.bucket_name]
        del self.bucket_id_to_bucket[bucket.bucket_id]
        self.storage.delete("bucket", bucket.bucket_id)

    def bucket(self, bucket_id: str) -> DiskBucket:
        """Return a bucket by id. Raise as B2 does if there is none."""
        bucket: DiskBucket = self._get_bucket_by_id(bucket_id)
        return bucket

    def named(self, name: str) -> DiskBucket:
        """Return a bucket by name. Raise NonExistentBucket if there is none."""
        if name not in self.bucket_name_to_bucket:
            raise NonExistentBucket(name)
        bucket: DiskBucket = self.bucket_name_to_bucket[name]
        return bucket

    def _assert_account_auth(self, *_arguments: Any, **_named: Any) -> None:
        """Nothing: `access` has checked more than the simulator would, before the call came here."""
