"""A bucket of the simulator, fixed: on disk, with B2's ids, times and listings, and a lock that holds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from b2sdk.v3 import (
    NO_RETENTION_BUCKET_SETTING,
    SSE_B2_AES,
    BucketRetentionSetting,
    BucketSimulator,
    FileRetentionSetting,
    LegalHold,
    PartSimulator,
    RetentionMode,
)
from b2sdk.v3.exception import (
    AccessDenied,
    BadRequest,
    FileNotPresent,
)

from pipeline.sandbox.b2.storage import MILLISECONDS_PER_DAY, Content
from pipeline.sandbox.b2.versions import DiskFile, retention_of

DAYS_PER_YEAR = 365
MAXIMUM_LISTED = 1000


class DiskBucket(BucketSimulator):  # type: ignore[misc]
    """A bucket whose versions are on disk, with ids and times like B2's, and Object Lock that holds."""

    FILE_SIMULATOR_CLASS = DiskFile
    FIRST_FILE_ID = "9" * 18

    def __init__(self, api: Any, *arguments: Any, **settings: Any) -> None:
        super().__init__(api, *arguments, **settings)
        self.upload_timestamp_counter = self._times()
        self.default_retention = NO_RETENTION_BUCKET_SETTING

    def _times(self) -> Iterator[int]:
        while True:
            yield self.api.storage.now_milliseconds()

    def _next_file_id(self) -> str:
        return str(self.api.storage.next_file_id())

    def _check_capability(self, account_auth_token: str, capability: str) -> bool:
        return capability in self.api.access.token(account_auth_token).key.capabilities

    def save(self) -> None:
        """Put the bucket's settings on disk."""
        body = {
            "name": self.bucket_name,
            "type": self.bucket_type,
            "info": self.bucket_info,
            "lifecycle_rules": self.lifecycle_rules,
            "lock": self.is_file_lock_enabled,
            "retention": self.default_retention.as_dict(),
            "revision": self.revision,
        }
        self.api.storage.save("bucket", self.bucket_id, body)

    def keep(self, file: DiskFile) -> None:
        """Put a file version on disk and in the indexes."""
        self.file_id_to_file[file.file_id] = file
        self.file_name_and_id_to_file[file.sort_key()] = file
        self.api.file_id_to_bucket_id[file.file_id] = self.bucket_id
        self.api.storage.save("file", file.file_id, file.document())

    def drop(self, file: DiskFile) -> None:
        """Remove a file version for good."""
        self.api.storage.delete("file", file.file_id)
        self.file_id_to_file.pop(file.file_id, None)
        self.file_name_and_id_to_file.pop(file.sort_key(), None)
        self.api.file_id_to_bucket_id.pop(file.file_id, None)
        self.api.storage.discard(file.file_id)

    def restore(self, file_id: str, body: dict[str, Any]) -> None:
        """Bring a file version back from its document."""
        storage = self.api.storage
        sizes = enumerate(body["segments"], start=1)
        content = Content(tuple((storage.segment(file_id, number), size) for number, size in sizes))
        action = body["action"]
        file = DiskFile(
            self.account_id,
            self,
            file_id,
            action,
            body["name"],
            body["content_type"],
            body["content_sha1"],
            body["file_info"],
            None if action == "start" else content,
            body["upload_timestamp"],
            server_side_encryption=None if action == "hide" else SSE_B2_AES,
            file_retention=retention_of(body["retention"]),
            legal_hold=LegalHold(body["legal_hold"]),
        )
        for number, size, sha1 in body["parts"] if action == "start" else []:
            file.add_part(
                number, PartSimulator(file_id, number, size, sha1, storage.segment(file_id, number))
            )
        self.file_id_to_file[file_id] = file
        self.file_name_and_id_to_file[file.sort_key()] = file
        self.api.file_id_to_bucket_id[file_id] = self.bucket_id

    def file(self, file_id: str) -> DiskFile:
        """Return a version by id. Raise FileNotPresent if there is none."""
        try:
            file: DiskFile = self.file_id_to_file[file_id]
        except KeyError:
            raise FileNotPresent(file_id_or_name=file_id) from None
        return file

    def unfinished(self, file_id: str) -> DiskFile:
        """Return a large file that is still being uploaded."""
        file: DiskFile | None = self.file_id_to_file.get(file_id)
        if file is None or file.action != "start":
            raise BadRequest(f"No active upload for: {file_id}", "bad_request")
        return file

    def visible(self, name: str) -> DiskFile | None:
        """Return the newest finished version of a name, unless it is hidden."""
        for file in self.versions():
            if file.name == name and file.action != "start":
                return file if file.action == "upload" else None
        return None

    def versions(self) -> list[DiskFile]:
        """Return every version by name, the newest first."""
        return [self.file_name_and_id_to_file[key] for key in sorted(self.file_name_and_id_to_file)]

    def list_file_names(
        self,
        account_auth_token: str,
        start_file_name: str | None = None,
        max_file_count: int | None = None,
        prefix: str | None = None,
    ) -> dict[str, Any]:
        """As B2: an upload that is not finished hides nothing, and a prefix needs no start."""
        limit = min(max_file_count or 100, MAXIMUM_LISTED)
        names = sorted({name for name, _ in self.file_name_and_id_to_file if name.startswith(prefix or "")})
        shown = [self.visible(name) for name in names if name >= (start_file_name or "")]
        files = [file for file in shown if file is not None]
        following = files[limit].name if len(files) > limit else None
        listed = [file.as_list_files_dict(account_auth_token) for file in files[:limit]]
        return {"files": listed, "nextFileName": following}

    def list_file_versions(
        self,
        account_auth_token: str,
        start_file_name: str | None = None,
        start_file_id: str | None = None,
        max_file_count: int | None = None,
        prefix: str | None = None,
    ) -> dict[str, Any]:
        """As B2: a prefix needs no start."""
        limit = min(max_file_count or 100, MAXIMUM_LISTED)
        start = (start_file_name or "", start_file_id or "")
        files = [f for f in self.versions() if f.sort_key() >= start and f.name.startswith(prefix or "")]
        following = files[limit] if len(files) > limit else None
        return {
            "files": [file.as_list_files_dict(account_auth_token) for file in files[:limit]],
            "nextFileName": following and following.name,
            "nextFileId": following and following.file_id,
        }

    def retention_for(self, asked: FileRetentionSetting | None) -> FileRetentionSetting | None:
        """Return the lock of a new file: what was asked for, or else the bucket's default from now on."""
        if asked is not None and asked.mode is not RetentionMode.NONE:
            if not self.is_file_lock_enabled:
                raise BadRequest("the bucket has no file lock", "bad_request")
            return asked
        default: BucketRetentionSetting = self.default_retention
        if not self.is_file_lock_enabled or default.period is None:
            return None
        days = default.period.duration * (1 if default.period.unit == "days" else DAYS_PER_YEAR)
        until = self.api.storage.now_milliseconds() + days * MILLISECONDS_PER_DAY
        return FileRetentionSetting(default.mode, until)

    def start(self, token: str, body: dict[str, Any]) -> dict[str, Any]:
        """Start a large file."""
        result: dict[str, Any] = self.start_large_file(
            token,
            body["fileName"],
            body["contentType"],
            body.get("fileInfo") or {},
            file_retention=self.retention_for(retention_of(body.get("fileRetention"))),
        )
        self.keep(self.file(result["fileId"]))
        return result

    def receive_part(self, file_id: str, number: int, sha1: str, received: Path, size: int) -> dict[str, Any]:
        """Add a part whose bytes have come in and were compared with `sha1`."""
        file = self.unfinished(file_id)
        place = self.api.storage.adopt(received, file_id, number)
        file.add_part(number, PartSimulator(file_id, number, size, sha1, place))
        self.keep(file)
        part: dict[str, Any] = file.parts[number].as_list_parts_dict()
        return part

    def receive_file(
        self,
        *,
        token: str,
        name: str,
        content_type: str,
        sha1: str,
        file_info: dict[str, str],
        retention: dict[str, Any] | None,
        received: Path,
        size: int,
    ) -> dict[str, Any]:
        """Add a small file whose bytes have come in and were compared with `sha1`."""
        lock = self.retention_for(retention_of(retention))
        file_id = self._next_file_id()
        place = self.api.storage.adopt(received, file_id, 1)
        file = DiskFile(
            self.account_id,
            self,
            file_id,
            "upload",
            name,
            content_type,
            sha1,
            file_info,
            Content(((place, size),)),
            self.api.storage.now_milliseconds(),
            server_side_encryption=SSE_B2_AES,
            file_retention=lock,
        )
        self.keep(file)
        result: dict[str, Any] = file.as_upload_result(token)
        return result

    def finish_large_file(self, account_auth_token: str, file_id: str, part_sha1_array: list[str]) -> Any:
        """Finish, once."""
        file = self.unfinished(file_id)
        file.finish(part_sha1_array)
        self.keep(file)
        return file.as_upload_result(account_auth_token)

    def cancel_large_file(self, file_id: str) -> dict[str, Any]:
        """Cancel, once."""
        file = self.unfinished(file_id)
        self.drop(file)
        ids = {"accountId": self.account_id, "bucketId": self.bucket_id}
        return {**ids, "fileId": file_id, "fileName": file.name}

    def hide_file(self, account_auth_token: str, file_name: str) -> Any:
        """Hide the visible version."""
        if self.visible(file_name) is None:
            raise BadRequest(f"no such file: {file_name}", "no_such_file")
        return self.hide(file_name).as_list_files_dict(account_auth_token)

    def hide(self, name: str) -> DiskFile:
        """Add the marker that hides older versions of a name."""
        now, empty = self.api.storage.now_milliseconds(), Content(())
        file_id = self._next_file_id()
        marker = DiskFile(self.account_id, self, file_id, "hide", name, None, "none", {}, empty, now)
        self.keep(marker)
        return marker

    def delete_file_version(
        self, account_auth_token: str, file_id: str, file_name: str, bypass_governance: bool = False
    ) -> dict[str, Any]:
        """Delete, unless Object Lock holds the version."""
        file = self.get_file(file_id, file_name)
        self._check_lock(file, account_auth_token, bypass_governance)
        self.drop(file)
        return {"fileId": file_id, "fileName": file_name}

    def update_file_retention(
        self,
        account_auth_token: str,
        file_id: str,
        file_name: str,
        file_retention: FileRetentionSetting,
        bypass_governance: bool = False,
    ) -> dict[str, Any]:
        """Change a lock: longer always; shorter or weaker only governance, with the right to bypass it."""
        file = self.get_file(file_id, file_name)
        if not self.is_file_lock_enabled:
            raise BadRequest("the bucket has no file lock", "bad_request")
        until = file.locked_until()
        longer = until is not None and (file_retention.retain_until or 0) >= until
        if until is not None and not (longer and file_retention.mode == file.file_retention.mode):
            self._check_lock(file, account_auth_token, bypass_governance)
        file.file_retention = None if file_retention.mode is RetentionMode.NONE else file_retention
        self.keep(file)
        retention = file_retention.serialize_to_json_for_request()
        return {"fileId": file_id, "fileName": file_name, "fileRetention": retention}

    def _check_lock(self, file: DiskFile, token: str, bypass_governance: bool) -> None:
        if file.locked_until() is None:
            return
        governed = file.file_retention.mode is RetentionMode.GOVERNANCE
        if not (governed and bypass_governance and self._check_capability(token, "bypassGovernance")):
            raise AccessDenied
