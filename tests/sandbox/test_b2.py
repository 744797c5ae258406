"""The B2 emulator behaves like B2 where a backup depends on it. Real HTTP, the SDK's own client."""

import json
import os
import signal
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from b2sdk.v3 import (
    ALL_CAPABILITIES,
    B2Api,
    BucketRetentionSetting,
    FileRetentionSetting,
    InMemoryAccountInfo,
    RetentionMode,
    RetentionPeriod,
    UploadSourceBytes,
)
from b2sdk.v3 import Bucket as SdkBucket
from b2sdk.v3.exception import (
    AccessDenied,
    B2Error,
    BadRequest,
    BucketIdNotFound,
    StorageCapExceeded,
    Unauthorized,
    UnsatisfiableRange,
)

from pipeline.errors import StepError, UnreachableError
from pipeline.sandbox.b2.control import CONTROL_FILE, Control
from pipeline.sandbox.b2.process import running

PART = 100_000
DAY_MILLISECONDS = 86_400_000


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    with running(tmp_path_factory.mktemp("b2"), part_size_bytes=PART) as control:
        yield control


@pytest.fixture
def bucket_name(control: Control, request: pytest.FixtureRequest) -> str:
    control.clear()
    name = f"test-{abs(hash(request.node.nodeid)):x}"
    control.create_bucket(name, lock=True)
    return name


Opener = Callable[..., SdkBucket]


@pytest.fixture
def open_bucket(control: Control, bucket_name: str) -> Iterator[Opener]:
    opened: list[B2Api] = []

    def open_it(capabilities: list[str] = ALL_CAPABILITIES, **limits: Any) -> SdkBucket:
        key = control.create_key("test", capabilities, bucket=bucket_name, **limits)
        api = B2Api(InMemoryAccountInfo())
        api.authorize_account(key.key_id, key.application_key, realm=control.url)
        opened.append(api)
        return api.get_bucket_by_name(bucket_name)

    yield open_it
    for api in opened:
        api.session.raw_api.b2_http.session.close()


def content(bucket: SdkBucket, name: str) -> bytes:
    api = bucket.api
    url = api.session.get_download_url_by_name(bucket.name, name)
    with api.session.download_file_from_url(url) as response:
        return bytes(response.content)


def test_everything_survives_a_kill(tmp_path: Path) -> None:
    """Objects, parts of unfinished uploads, keys, rules and the clock are there after kill -9."""
    with running(tmp_path, part_size_bytes=PART) as control:
        control.create_bucket("survivor", lock=True)
        key = control.create_key("k", ALL_CAPABILITIES, bucket="survivor")
        api = B2Api(InMemoryAccountInfo())
        api.authorize_account(key.key_id, key.application_key, realm=control.url)
        bucket = api.get_bucket_by_name("survivor")
        bucket.upload_bytes(b"small", "a/small", file_info={"sha256": "abc"})
        sources = [UploadSourceBytes(os.urandom(PART)) for _ in range(3)]
        bucket.concatenate(sources, "a/large")
        begun = api.services.large_file.start_large_file(bucket.id_, "a/begun", "text/plain", {"x": "y"})
        api.session.upload_part(begun.file_id, 1, 3, _sha1(b"abc"), UploadSourceBytes(b"abc").open())
        bucket.update(
            default_retention=BucketRetentionSetting(RetentionMode.COMPLIANCE, RetentionPeriod(days=3))
        )
        control.advance(days=2)
        os.kill(control.pid, signal.SIGKILL)
        api.session.raw_api.b2_http.session.close()
    with running(tmp_path, part_size_bytes=PART) as control:
        api = B2Api(InMemoryAccountInfo())
        api.authorize_account(key.key_id, key.application_key, realm=control.url)
        bucket = api.get_bucket_by_name("survivor")
        assert content(bucket, "a/large") == b"".join(source.data_bytes for source in sources)
        assert bucket.get_file_info_by_name("a/small").file_info == {"sha256": "abc"}
        (unfinished,) = bucket.list_unfinished_large_files()
        assert unfinished.file_info == {"x": "y"}
        assert [part.content_length for part in api.services.large_file.list_parts(unfinished.file_id)] == [3]
        new = bucket.upload_bytes(b"new", "a/new")
        assert new.file_retention.retain_until > (time.time() + 4 * 86_400) * 1000
        assert int(new.id_) < int(unfinished.file_id)
        api.session.raw_api.b2_http.session.close()


def _sha1(data: bytes) -> str:
    return str(UploadSourceBytes(data).get_content_sha1())


def test_secrets_are_not_kept(tmp_path: Path) -> None:
    """An application key is on disk only as a hash; the control token only where its owner reads it."""
    with running(tmp_path) as control:
        key = control.create_key("k", ["listFiles"])
        found = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert not [path for path in found if key.application_key.encode() in path.read_bytes()]
        modes = {stat.S_IMODE(path.stat().st_mode) for path in found}
        assert modes == {0o600}
        assert key.application_key not in repr(key)
    assert not (tmp_path / CONTROL_FILE).exists()


def test_control_needs_the_token(control: Control) -> None:
    """Nobody without the token of the home folder makes keys or faults."""
    answer = requests.post(f"{control.url}/control/create_key", json={"name": "x"}, timeout=10)
    assert answer.status_code == 404
    with pytest.raises(UnreachableError, match="no B2 emulator is running"):
        Control(Path("/nonexistent"))


def test_listens_on_loopback_only(control: Control) -> None:
    """The server's socket is bound to 127.0.0.1."""
    port = int(control.url.rpartition(":")[2])
    rows = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    assert [row for row in rows if row.endswith(f":{port:04X}") and row.startswith("0100007F:")]
    assert not [row for row in rows if row.endswith(f":{port:04X}") and row.startswith("00000000:")]


NEEDED: dict[str, tuple[str, Callable[[SdkBucket], object]]] = {
    "upload": ("writeFiles", lambda bucket: bucket.upload_bytes(b"x", "p/new")),
    "list": ("listFiles", lambda bucket: list(bucket.ls("p/"))),
    "download": ("readFiles", lambda bucket: content(bucket, "p/there")),
    "hide": ("writeFiles", lambda bucket: bucket.hide_file("p/there")),
    "start": (
        "writeFiles",
        lambda bucket: bucket.api.services.large_file.start_large_file(bucket.id_, "p/big", "a/b", {}),
    ),
    "settings": ("listBuckets", lambda bucket: bucket.api.list_buckets(bucket_id=bucket.id_)),
    "rules": ("writeBuckets", lambda bucket: bucket.update(bucket_info={"a": "b"})),
}


@pytest.mark.parametrize(("capability", "act"), NEEDED.values(), ids=NEEDED.keys())
def test_a_capability_is_enough_and_needed(
    open_bucket: Opener, capability: str, act: Callable[[SdkBucket], object]
) -> None:
    """Each call works with its capability alone and is refused with all others."""
    open_bucket().upload_bytes(b"content", "p/there")
    others = [name for name in ALL_CAPABILITIES if name != capability]
    with pytest.raises(B2Error, match="unauthorized"):
        act(open_bucket(others))
    act(open_bucket([capability]))


def test_name_prefix_holds(open_bucket: Opener) -> None:
    """A key for names under hr/ neither reads, lists nor writes elsewhere."""
    open_bucket().upload_bytes(b"theirs", "other/a")
    bucket = open_bucket(name_prefix="hr/")
    bucket.upload_bytes(b"ours", "hr/a")
    assert [file.file_name for file, _ in bucket.ls("hr/", recursive=True)] == ["hr/a"]
    with pytest.raises(Unauthorized):
        content(bucket, "other/a")
    with pytest.raises(Unauthorized):
        list(bucket.ls("", recursive=True))
    with pytest.raises(B2Error, match="unauthorized"):
        bucket.upload_bytes(b"x", "other/b")


def test_a_key_ends(control: Control, open_bucket: Opener) -> None:
    """A key with a validity stops working when the clock has passed it, its tokens too."""
    bucket = open_bucket(valid_seconds=3600)
    list(bucket.ls())
    control.advance_seconds(3601)
    with pytest.raises(Unauthorized):
        list(bucket.ls())


def test_an_expired_token_is_renewed(control: Control, open_bucket: Opener) -> None:
    """The SDK logs in again when its token has ended, as with B2."""
    bucket = open_bucket()
    control.expire_tokens()
    assert list(bucket.ls()) == []


def test_downloads_need_authorization(control: Control, bucket_name: str, open_bucket: Opener) -> None:
    """Unlike in the SDK's simulator, nobody reads without a token."""
    open_bucket().upload_bytes(b"secret", "a")
    assert requests.get(f"{control.url}/file/{bucket_name}/a", timeout=10).status_code == 401


def test_ranges(open_bucket: Opener) -> None:
    """A range across segments gives those bytes; one past the end is cut; one beyond it refused."""
    data = os.urandom(3 * PART)
    bucket = open_bucket()
    bucket.concatenate([UploadSourceBytes(data[:PART]), UploadSourceBytes(data[PART:])], "a")
    url = bucket.api.session.get_download_url_by_name(bucket.name, "a")

    def get(first: int, last: int) -> bytes:
        with bucket.api.session.download_file_from_url(url, range_=(first, last)) as response:
            return bytes(response.content)

    assert get(PART - 5, PART + 4) == data[PART - 5 : PART + 5]
    assert get(3 * PART - 5, 9 * PART) == data[-5:]
    with pytest.raises(UnsatisfiableRange):
        get(3 * PART, 3 * PART + 1)


def test_small_parts_and_wrong_hashes_are_refused(
    control: Control, bucket_name: str, open_bucket: Opener
) -> None:
    """As B2: all parts but the last have a minimum size, and content must match its SHA-1."""
    bucket = open_bucket()
    session = bucket.api.session
    file_id = bucket.api.services.large_file.start_large_file(bucket.id_, "a", "a/b", {}).file_id
    for number in (1, 2):
        session.upload_part(file_id, number, 3, _sha1(b"abc"), UploadSourceBytes(b"abc").open())
    with pytest.raises(BadRequest, match="minimum size"):
        session.finish_large_file(file_id, [_sha1(b"abc")] * 2)
    with pytest.raises(BadRequest, match="Sha1"):
        session.upload_part(file_id, 3, 3, _sha1(b"abd"), UploadSourceBytes(b"abc").open())
    assert [version["action"] for version in control.versions(bucket_name)] == ["start"]


def test_unfinished_uploads_hide_nothing(open_bucket: Opener) -> None:
    """An upload that is not finished leaves the older object of that name visible."""
    bucket = open_bucket()
    bucket.upload_bytes(b"old", "a")
    bucket.api.services.large_file.start_large_file(bucket.id_, "a", "a/b", {})
    assert [file.file_name for file, _ in bucket.ls()] == ["a"]
    assert content(bucket, "a") == b"old"


def test_more_than_the_simulator_allows(open_bucket: Opener) -> None:
    """The SDK's simulator ends at 200 upload URLs; ids keep their order beyond any such limit."""
    bucket = open_bucket()
    for number in range(205):
        bucket.api.session.get_upload_url(bucket.id_)
        if number % 50 == 0:
            bucket.upload_bytes(str(number).encode(), "a")
    assert content(bucket, "a") == b"200"


def test_lifecycle(control: Control, bucket_name: str, open_bucket: Opener) -> None:
    """Hidden after three days, deleted a day later; unfinished uploads cancelled after two days."""
    bucket = open_bucket()
    rule = {
        "fileNamePrefix": "",
        "daysFromUploadingToHiding": 3,
        "daysFromHidingToDeleting": 1,
        "daysFromStartingToCancelingUnfinishedLargeFiles": 2,
    }
    bucket.update(lifecycle_rules=[rule])
    bucket.upload_bytes(b"x", "a")
    bucket.api.services.large_file.start_large_file(bucket.id_, "b", "a/b", {})
    assert control.advance(days=1) == {"hidden": [], "deleted": [], "cancelled": [], "locked": []}
    assert control.advance(days=1)["cancelled"] == ["b"]
    assert control.advance(days=1)["hidden"] == ["a"]
    assert list(bucket.ls()) == []
    assert control.advance(days=1)["deleted"] == ["a"]
    control.advance(days=1)  # the marker, which hides nothing any more
    assert control.versions(bucket_name) == []


@pytest.mark.parametrize(
    "rules",
    [
        [{"fileNamePrefix": "", "daysFromUploadingToHiding": 0}],
        [{"fileNamePrefix": ""}],
        [
            {"fileNamePrefix": "a", "daysFromHidingToDeleting": 1},
            {"fileNamePrefix": "a/b", "daysFromHidingToDeleting": 1},
        ],
    ],
)
def test_lifecycle_rules_are_checked(open_bucket: Opener, rules: list[dict[str, Any]]) -> None:
    """Days of none and overlapping prefixes are refused, as B2 does."""
    with pytest.raises(BadRequest):
        open_bucket().update(lifecycle_rules=rules)


@pytest.mark.parametrize("mode", ["compliance", "governance"])
def test_object_lock_refuses_deletion(control: Control, open_bucket: Opener, mode: str) -> None:
    """A locked version cannot be deleted nor its lock shortened; governance can be bypassed."""
    everything_else = [name for name in ALL_CAPABILITIES if name != "bypassGovernance"]
    bucket = open_bucket(everything_else)
    period = BucketRetentionSetting(RetentionMode(mode), RetentionPeriod(days=5))
    bucket.update(default_retention=period)
    file = bucket.upload_bytes(b"x", "a")
    with pytest.raises(AccessDenied):
        file.delete()
    with pytest.raises(AccessDenied):
        file.update_retention(FileRetentionSetting(RetentionMode(mode), int(time.time() * 1000) + 60_000))
    longer = FileRetentionSetting(RetentionMode(mode), file.file_retention.retain_until + 1)
    file.update_retention(longer)
    may = open_bucket().get_file_info_by_name("a")
    if mode == "compliance":
        with pytest.raises(AccessDenied):
            may.delete(bypass_governance=True)
        control.advance(days=8)
        file.delete()
    else:
        may.delete(bypass_governance=True)


def test_lifecycle_leaves_locked_versions(control: Control, bucket_name: str, open_bucket: Opener) -> None:
    """What is hidden is not deleted before its lock ends."""
    bucket = open_bucket()
    bucket.update(
        lifecycle_rules=[{"fileNamePrefix": "", "daysFromHidingToDeleting": 1}],
        default_retention=BucketRetentionSetting(RetentionMode.COMPLIANCE, RetentionPeriod(days=3)),
    )
    bucket.upload_bytes(b"x", "a")
    bucket.hide_file("a")
    assert control.advance(days=2)["locked"] == ["a", "a"]  # a day each
    assert [version["action"] for version in control.versions(bucket_name)] == ["hide", "upload"]
    control.advance(days=3)
    assert control.versions(bucket_name) == []


def test_faults(control: Control, open_bucket: Opener, bucket_name: str) -> None:
    """Errors come as often as told, with Retry-After; a full disk and damage are what they say."""
    bucket = open_bucket()
    control.fault("b2_list_file_names", "error", times=2, retry_after="0")
    assert list(bucket.ls()) == []
    statuses = [call["status"] for call in control.calls("b2_list_file_names")]
    assert statuses == [503, 503, 200]
    control.fault("b2_upload_file", "full")
    with pytest.raises(StorageCapExceeded):
        bucket.upload_bytes(b"x", "a")
    bucket.upload_bytes(b"abcdef", "a")
    control.corrupt(bucket_name, "a", offset=2)
    assert content(bucket, "a") == b"abbdef"
    control.truncate(bucket_name, "a", size_bytes=2)
    assert content(bucket, "a") == b"ab"
    control.remove_bucket(bucket_name)
    with pytest.raises(BucketIdNotFound):
        content(bucket, "a")


def test_a_taken_port_is_told(control: Control, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A second emulator on the same port ends with a sentence."""
    port = int(control.url.rpartition(":")[2])
    with pytest.raises(StepError, match="did not start"), running(tmp_path, port=port):
        pass
    assert f"cannot listen on port {port}" in capfd.readouterr().err


def test_unknown_calls_and_bad_requests(control: Control) -> None:
    """Nonsense gets an error in B2's form, and the server goes on."""
    url = f"{control.url}/b2api/v4/b2_list_file_names"
    answer = requests.post(url, data=b"not json", timeout=10)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_json")
    answer = requests.post(url, data=json.dumps({}), timeout=10)
    assert (answer.status_code, answer.json()["code"]) == (401, "bad_auth_token")
    assert requests.get(f"{control.url}/file/nothing", timeout=10).status_code in {401, 404}
    with pytest.raises(StepError, match="No such bucket: nothing-here"):
        control.versions("nothing-here")
