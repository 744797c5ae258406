"""The bucket against the B2 emulator: real HTTP, the real SDK, and the faults that B2 and networks have."""

import hashlib
import json
import logging
import os
import re
import resource
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from b2sdk.v3 import UploadSourceBytes

from pipeline import bucket as bucket_module
from pipeline.bucket import KEPT, Bucket, RetryPolicy, connect, connection, roles
from pipeline.bucket.refusals import SourceError, Who
from pipeline.bucket.throttle import Throttle
from pipeline.errors import CheckError, StepError, StoppedError, UnreachableError
from pipeline.redact import redact
from pipeline.retry import Attempts
from pipeline.sandbox.b2.control import Control
from pipeline.sandbox.b2.process import running
from tests.support.marks import in_depth
from tests.support.night import wait_until
from tests.support.recording import echoing

PART = 100_000
MEBIBYTE = 1024 * 1024
HASTY = RetryPolicy(give_up_after_seconds=5, first_wait_seconds=0.01, longest_wait_seconds=0.05)
ALL = frozenset({*roles.WRITER, *roles.VERIFIER, *roles.ADMIN, "writeFileRetentions"})


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    with running(tmp_path_factory.mktemp("b2"), part_size_bytes=PART) as control:
        yield control


@pytest.fixture
def bucket_name(control: Control, request: pytest.FixtureRequest) -> str:
    control.clear()
    name = "test-" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:20]
    control.create_bucket(name)
    return name


Opener = Callable[..., Bucket]


@pytest.fixture
def opened(control: Control, bucket_name: str) -> Iterator[Opener]:
    buckets: list[Bucket] = []

    def open_it(
        capabilities: frozenset[str] = ALL,
        *,
        retries: RetryPolicy = HASTY,
        restricted: bool = True,
        **limits: Any,
    ) -> Bucket:
        key = control.create_key("test", capabilities, bucket=bucket_name if restricted else None, **limits)
        bucket = connect(key.key_id, key.application_key, bucket_name, realm=control.url, retries=retries)
        buckets.append(bucket)
        return bucket

    yield open_it
    for bucket in buckets:
        bucket.close()


def a_file(folder: Path, size_bytes: int) -> tuple[Path, str]:
    path = folder / "object"
    data = os.urandom(size_bytes)
    path.write_bytes(data)
    return path, hashlib.sha256(data).hexdigest()


def upload(bucket: Bucket, path: Path, sha256: str, **options: Any) -> bucket_module.Stored:
    return bucket.upload(path, "hr/2026-11-22/hr.dump.gpg", sha256=sha256, part_size_bytes=PART, **options)


NAME = "hr/2026-11-22/hr.dump.gpg"


# Uploads


@pytest.mark.parametrize("size_bytes", [0, 1, PART, PART + 1, 7 * PART + 3])
def test_a_file_comes_back_as_it_was(opened: Opener, tmp_path: Path, size_bytes: int) -> None:
    """Empty, small, of one part, just over it and large: upload, verify and download give the same bytes."""
    path, sha256 = a_file(tmp_path, size_bytes)
    bucket = opened()
    done: list[tuple[int, int]] = []
    stored = upload(bucket, path, sha256, info={"database": "hr"}, progress=lambda *now: done.append(now))
    assert (stored.size_bytes, stored.sha256, stored.info["database"]) == (size_bytes, sha256, "hr")
    assert not size_bytes or done[-1] == (size_bytes, size_bytes)
    bucket.verify(NAME, sha256=sha256, size_bytes=size_bytes)
    target = tmp_path / "back"
    bucket.download(NAME, target, sha256=sha256)
    assert target.read_bytes() == path.read_bytes()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []


def test_large_objects_carry_both_hashes(opened: Opener, tmp_path: Path) -> None:
    """The SHA-1 is where stock tools look for it, the SHA-256 where we do."""
    path, sha256 = a_file(tmp_path, 3 * PART)
    stored = upload(opened(), path, sha256)
    assert stored.info["large_file_sha1"] == hashlib.sha1(path.read_bytes()).hexdigest()  # noqa: S324
    assert stored.info["sha256"] == sha256


def test_the_same_again_is_nothing(
    control: Control, bucket_name: str, opened: Opener, tmp_path: Path
) -> None:
    """A step that is run again neither sends nor stores anything twice."""
    path, sha256 = a_file(tmp_path, 3 * PART)
    first = upload(opened(), path, sha256)
    control.clear()
    assert upload(opened(), path, sha256) == first
    assert control.calls("b2_upload_part") == []
    assert len(control.versions(bucket_name)) == 1


def test_other_content_is_refused(bucket_name: str, opened: Opener, tmp_path: Path) -> None:
    """Nothing that is there is overwritten."""
    path, sha256 = a_file(tmp_path, 100)
    upload(opened(), path, sha256)
    path, sha256 = a_file(tmp_path, 100)
    with pytest.raises(StepError, match=f"{bucket_name}: {NAME} exists already with other content"):
        upload(opened(), path, sha256)


def test_a_file_that_is_not_what_it_was(control: Control, opened: Opener, tmp_path: Path) -> None:
    """A damaged ciphertext is found before it is sent."""
    path, sha256 = a_file(tmp_path, 100)
    path.write_bytes(b"something else")
    with pytest.raises(StepError, match="SHA-256 has changed since"):
        upload(opened(), path, sha256)
    assert control.calls("b2_upload_file") == []


def parts_sent(control: Control) -> tuple[list[int], list[int]]:
    """The numbers of the parts that arrived whole, and of those that were cut."""
    calls = control.calls("b2_upload_part")
    whole = [call["part"] for call in calls if call["status"] == 200]
    return whole, [call["part"] for call in calls if call["status"] != 200]


@in_depth("part_size_bytes", [PART, 16 * MEBIBYTE], ids=["small parts", "200 MB"])
def test_a_cut_at_60_percent(
    control: Control, bucket_name: str, opened: Opener, tmp_path: Path, part_size_bytes: int
) -> None:
    """After a reset in the middle of a part, that part alone is sent twice."""
    size_bytes = 200_000_000 if part_size_bytes > PART else 20 * PART
    path, sha256 = a_file(tmp_path, size_bytes)
    count = -(-size_bytes // part_size_bytes)
    control.fault("b2_upload_part", "reset", skip=int(count * 0.6), after_bytes=part_size_bytes // 2)
    opened().upload(path, NAME, sha256=sha256, part_size_bytes=part_size_bytes)
    whole, cut = parts_sent(control)
    assert sorted(whole) == list(range(1, count + 1))
    assert len(cut) == 1
    opened().verify(NAME, sha256=sha256)
    assert [version["action"] for version in control.versions(bucket_name)] == ["upload"]


def test_a_broken_line_then_again(control: Control, bucket_name: str, opened: Opener, tmp_path: Path) -> None:
    """When B2 stays away too long the upload gives up; run again, it sends only what is missing."""
    path, sha256 = a_file(tmp_path, 20 * PART)
    control.fault("b2_upload_part", "reset", skip=12, times=10_000, after_bytes=PART // 2)
    short = RetryPolicy(give_up_after_seconds=0.2, first_wait_seconds=0.01, longest_wait_seconds=0.05)
    with pytest.raises(UnreachableError, match=r"could not upload part \d+ of 20.*run it again"):
        upload(opened(retries=short), path, sha256)
    arrived, _ = parts_sent(control)
    assert len(arrived) == 12
    control.clear()
    upload(opened(), path, sha256)
    # What was cut earlier may be noted only now.
    whole, _ = parts_sent(control)
    assert sorted(arrived + whole) == list(range(1, 21))
    assert [version["action"] for version in control.versions(bucket_name)] == ["upload"]


def test_a_writer_resumes_in_a_locked_bucket(control: Control, tmp_path: Path) -> None:
    """The SDK's own resume compares locks, which a writer cannot read, and so would start anew each time."""
    locked = "locked-" + os.urandom(6).hex()
    control.create_bucket(locked, lock=True)
    admin = control.create_key("admin", roles.ADMIN, bucket=locked)
    with connect(admin.key_id, admin.application_key, locked, realm=control.url) as bucket:
        bucket.apply(keep_days=30, lock_days=10)
    writer = control.create_key("writer", roles.WRITER, bucket=locked)
    path, sha256 = a_file(tmp_path, 6 * PART)
    control.fault("b2_upload_part", "error", skip=3, times=10_000, status=400, code="bad_request")
    with connect(writer.key_id, writer.application_key, locked, realm=control.url, retries=HASTY) as bucket:
        with pytest.raises(StepError, match="could not upload part"):
            upload(bucket, path, sha256, threads=1)
        control.clear()
        upload(bucket, path, sha256)
    assert len(parts_sent(control)[0]) == 3
    (version,) = control.versions(locked)
    assert version["locked_until"] is not None


UPLOADER = textwrap.dedent("""
    import json, sys
    from pathlib import Path
    from pipeline.bucket import connect
    told = json.load(sys.stdin)
    bucket = connect(told["key_id"], told["key"], told["bucket"], realm=told["realm"])
    if told["what"] == "upload":
        bucket.upload(Path(told["path"]), told["name"], sha256=told["sha256"],
                      part_size_bytes=told["part_size"])
    else:
        bucket.verify(told["name"], sha256=told["sha256"])
        bucket.download(told["name"], Path(told["path"]), sha256=told["sha256"])
    status = Path("/proc/self/status").read_text()
    print(status.split("VmHWM:")[1].split()[0])
""")


def child(control: Control, bucket_name: str, what: str, path: Path, sha256: str, part_size: int) -> Any:
    key = control.create_key("child", ALL, bucket=bucket_name)
    told = {
        "key_id": key.key_id,
        "key": key.application_key,
        "bucket": bucket_name,
        "realm": control.url,
        "what": what,
        "path": str(path),
        "name": NAME,
        "sha256": sha256,
        "part_size": part_size,
    }
    process = subprocess.Popen(
        [sys.executable, "-c", UPLOADER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(told))
    process.stdin.close()
    process.stdin = None
    return process


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_upload_then_again(
    control: Control, bucket_name: str, opened: Opener, tmp_path: Path, number: signal.Signals
) -> None:
    """Killed in the middle and run again: one object, nothing unfinished, whole parts not sent twice."""
    path, sha256 = a_file(tmp_path, 30 * PART)
    control.fault("b2_upload_part", "slow", skip=10, times=4, bytes_per_second=PART)
    process = child(control, bucket_name, "upload", path, sha256, PART)
    while len(parts_sent(control)[0]) < 10:
        assert process.poll() is None
    process.send_signal(number)
    assert process.wait(20) == -number
    process.stdout.close()
    arrived, _ = parts_sent(control)
    assert {version["action"] for version in control.versions(bucket_name)} == {"start"}
    control.clear()
    upload(opened(), path, sha256)
    again, _ = parts_sent(control)
    assert not set(arrived) & set(again)
    assert [version["action"] for version in control.versions(bucket_name)] == ["upload"]
    opened().verify(NAME, sha256=sha256)


def test_parts_of_something_else_are_not_trusted(
    control: Control, bucket_name: str, opened: Opener, tmp_path: Path
) -> None:
    """An unfinished upload that claims our content but holds other bytes is thrown away."""
    path, sha256 = a_file(tmp_path, 3 * PART)
    bucket = opened()
    session, bucket_id = bucket._connection.session, bucket._connection.bucket_id
    file_id = session.start_large_file(bucket_id, NAME, "a/b", {"sha256": sha256})["fileId"]
    wrong = UploadSourceBytes(os.urandom(PART))
    session.upload_part(file_id, 1, PART, wrong.get_content_sha1(), wrong.open())
    upload(bucket, path, sha256)
    assert [version["action"] for version in control.versions(bucket_name)] == ["upload"]
    bucket.verify(NAME, sha256=sha256)


def test_a_stopped_upload_then_again(
    control: Control, bucket_name: str, opened: Opener, tmp_path: Path
) -> None:
    """Told to stop in the middle, all threads end; run again, the upload goes on."""
    path, sha256 = a_file(tmp_path, 10 * PART)

    def stop(done: int, total: int) -> None:
        if done > total / 2:
            raise StoppedError("stopped by a signal")

    with pytest.raises(StoppedError):
        upload(opened(), path, sha256, progress=stop)
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("bucket")] == []
    arrived, _ = parts_sent(control)
    assert arrived
    control.clear()
    upload(opened(), path, sha256)
    assert not set(arrived) & set(parts_sent(control)[0])
    assert [version["action"] for version in control.versions(bucket_name)] == ["upload"]


def test_leftovers_of_other_content_are_cancelled(
    control: Control, bucket_name: str, opened: Opener, tmp_path: Path
) -> None:
    """An upload that was cut, whose file was then made anew, leaves nothing behind; other names are left."""
    path, sha256 = a_file(tmp_path, 6 * PART)
    control.fault("b2_upload_part", "error", skip=2, times=10_000, status=400, code="bad_request")
    with pytest.raises(StepError):
        upload(opened(), path, sha256)
    control.clear()
    (left,) = opened().unfinished()
    assert (left.name, left.sha256) == (NAME, sha256)
    control.fault("b2_upload_part", "error", times=10_000, status=400, code="bad_request")
    with pytest.raises(StepError):
        opened().upload(path, NAME + ".other", sha256=sha256, part_size_bytes=PART)
    control.clear()
    path, sha256 = a_file(tmp_path, 6 * PART)
    upload(opened(), path, sha256)
    actions = [(version["name"], version["action"]) for version in control.versions(bucket_name)]
    assert actions == [(NAME, "upload"), (NAME + ".other", "start")]
    later, now = datetime.now(UTC) + timedelta(hours=1), datetime.now(UTC) - timedelta(hours=1)
    assert opened().cancel_unfinished("", started_before=now) == ()
    assert opened().cancel_unfinished("", started_before=later) == (NAME + ".other",)


@pytest.mark.parametrize(
    "call", ["b2_upload_file", "b2_upload_part", "b2_finish_large_file", "b2_start_large_file"]
)
def test_a_lost_answer(control: Control, bucket_name: str, opened: Opener, tmp_path: Path, call: str) -> None:
    """B2 did it, but the answer got lost: the next attempt neither fails nor makes a second version."""
    path, sha256 = a_file(tmp_path, PART if call == "b2_upload_file" else 4 * PART)
    control.fault(call, "unanswered")
    upload(opened(), path, sha256)
    assert [version["action"] for version in control.versions(bucket_name)] == ["upload"]
    opened().verify(NAME, sha256=sha256)


def test_a_file_that_shrinks(opened: Opener, control: Control, tmp_path: Path) -> None:
    """A source that becomes shorter is an error, not a short object."""
    path, sha256 = a_file(tmp_path, 10 * PART)

    def shrink(done: int, _total: int) -> None:
        if done > 2 * PART:
            os.truncate(path, 3 * PART)

    with pytest.raises(StepError, match="was truncated during the upload"):
        upload(opened(), path, sha256, threads=1, progress=shrink)
    assert control.calls("b2_finish_large_file") == []


def test_rate_limit() -> None:
    """What several threads reserve together stays within the rate."""
    throttle = Throttle(1000, clock=lambda: 50.0)
    assert [throttle.reserve(500) for _ in range(3)] == [0.0, 0.5, 1.0]
    assert Throttle(None).reserve(10**9) == 0.0


def test_rate_limit_slows_an_upload(opened: Opener, tmp_path: Path) -> None:
    """The limit reaches the wire: five parts at five a second are not done in half of that time."""
    path, sha256 = a_file(tmp_path, 5 * PART)
    started = datetime.now(UTC)
    upload(opened(), path, sha256, rate_limit_bytes_per_second=5 * PART)
    assert datetime.now(UTC) - started > timedelta(seconds=0.5)


# Storms


def test_a_storm_of_503(control: Control, opened: Opener, tmp_path: Path) -> None:
    """Errors that pass, on any call, only cost time."""
    path, sha256 = a_file(tmp_path, 10 * PART)
    bucket = opened()
    control.fault("*", "error", times=30)
    upload(bucket, path, sha256)
    control.fault("b2_download_file", "error", times=5, status=500)
    control.fault("b2_download_file", "error", times=5, status=429, code="too_many_requests")
    bucket.verify(NAME, sha256=sha256)
    assert len([call for call in control.calls() if call["status"] in {503, 500, 429}]) == 40


@pytest.mark.parametrize(
    "call", ["b2_list_file_names", "b2_upload_file", "b2_upload_part", "b2_download_file"]
)
@pytest.mark.parametrize("kind", ["page", "error"])
def test_an_error_inside_a_good_answer(
    control: Control, opened: Opener, tmp_path: Path, call: str, kind: str
) -> None:
    """200 with a page of a proxy, or with an error in it, is not an answer: it is asked again."""
    path, sha256 = a_file(tmp_path, 3 * PART if call == "b2_upload_part" else 10)
    bucket = opened()
    details = {"status": 200} if kind == "error" else {}
    if call == "b2_download_file":
        upload(bucket, path, sha256)
    control.fault(call, kind, times=2, **details)
    if call == "b2_download_file":
        bucket.download(NAME, tmp_path / "back", sha256=sha256)
        assert (tmp_path / "back").read_bytes() == path.read_bytes()
    else:
        upload(bucket, path, sha256)
        bucket.verify(NAME, sha256=sha256)
    control.fault("b2_list_file_names", kind, times=10_000, **details)
    short = RetryPolicy(give_up_after_seconds=0.2, first_wait_seconds=0.01, longest_wait_seconds=0.05)
    with pytest.raises(UnreachableError, match="could not find x: B2 sent an unexpected answer"):
        opened(retries=short).find("x")


def test_retry_after_is_waited(control: Control, opened: Opener, tmp_path: Path) -> None:
    """The server's own wait is the least that is waited."""
    path, sha256 = a_file(tmp_path, 10)
    bucket = opened()
    control.fault("b2_upload_file", "error", retry_after="1")
    started = datetime.now(UTC)
    upload(bucket, path, sha256)
    assert datetime.now(UTC) - started >= timedelta(seconds=1)


def test_a_retry_after_beyond_patience_ends_at_once(control: Control, opened: Opener, tmp_path: Path) -> None:
    """A server that wants an hour is not waited for when nobody has an hour."""
    path, sha256 = a_file(tmp_path, 10)
    bucket = opened()
    control.fault("b2_upload_file", "error", times=100, retry_after="3600")
    with pytest.raises(UnreachableError, match="gave up"):
        upload(bucket, path, sha256)
    assert len(control.calls("b2_upload_file")) == 1


def test_patience() -> None:
    """Waits grow to their limit with full jitter, and end in time; progress starts them afresh."""
    now = 0.0
    waited: list[float] = []

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            nonlocal now
            assert timeout is not None
            waited.append(timeout)
            now += timeout
            return False

    retries = RetryPolicy(give_up_after_seconds=20, first_wait_seconds=1, longest_wait_seconds=4)
    attempts = Attempts(retries, Stop(), clock=lambda: now, jitter=lambda: 1.0)
    while attempts.wait(None):
        pass
    assert waited == [1, 2, 4, 4, 4, 4]
    attempts.progressed()
    assert attempts.wait(None)
    assert waited[-1] == 1


def test_an_expired_token(control: Control, opened: Opener, tmp_path: Path) -> None:
    """Tokens that end in the middle, of the account and of upload URLs, are renewed."""
    path, sha256 = a_file(tmp_path, 10 * PART)
    bucket = opened()
    expired: list[int] = []

    def expire(done: int, total: int) -> None:
        if done > total / 2 and not expired:
            expired.append(done)
            control.expire_tokens()

    upload(bucket, path, sha256, progress=expire)
    control.expire_tokens()
    bucket.verify(NAME, sha256=sha256)
    # The SDK itself logs in and tries again once.
    control.fault("b2_upload_file", "error", times=3, status=401, code="expired_auth_token")
    bucket.write_small("small", b"x", content_type="text/plain")


# Keys


def write(bucket: Bucket, folder: Path) -> None:
    path, sha256 = a_file(folder, 3 * PART)
    stored = bucket.upload(path, sha256, sha256=sha256, part_size_bytes=PART)
    # Each time another: what is there already need not be copied.
    bucket.copy(stored, f"{KEPT}{os.urandom(6).hex()}")
    bucket.cancel_unfinished("")


def verify(bucket: Bucket, _folder: Path) -> None:
    (known,) = bucket.list(NAME)
    assert known.sha256
    if bucket.verify(NAME, sha256=known.sha256).retained_until is None:
        raise UnreachableError("readFileRetentions is missing")


def restore(bucket: Bucket, folder: Path) -> None:
    (known,) = bucket.list(NAME)
    assert known.sha256
    bucket.download(NAME, folder / "back", sha256=known.sha256)


def audit(bucket: Bucket, _folder: Path) -> None:
    for problem in bucket.inspect().problems(keep_days=30, lock_days=7):
        raise UnreachableError(problem)


def administer(bucket: Bucket, _folder: Path) -> None:
    bucket.apply(keep_days=30, lock_days=7)


WORK: dict[str, tuple[frozenset[str], Callable[[Bucket, Path], None]]] = {
    "writer": (roles.WRITER, write),
    "verifier": (roles.VERIFIER, verify),
    "restorer": (roles.RESTORER, restore),
    "auditor": (roles.AUDITOR, audit),
    "admin": (roles.ADMIN, administer),
}


@pytest.mark.parametrize("role", WORK)
def test_each_role_works_and_needs_all_it_has(control: Control, tmp_path: Path, role: str) -> None:
    """Each role does its whole work with exactly its capabilities, and not with any one less."""
    name = "role-" + os.urandom(6).hex()
    control.create_bucket(name, lock=True)
    capabilities, work = WORK[role]

    def as_one_with(some: frozenset[str], work: Callable[[Bucket, Path], object]) -> None:
        key = control.create_key("test", some, bucket=name)
        with connect(key.key_id, key.application_key, name, realm=control.url, retries=HASTY) as bucket:
            work(bucket, tmp_path)

    as_one_with(ALL, administer)
    as_one_with(ALL, lambda bucket, folder: upload(bucket, *a_file(folder, 3 * PART)))
    as_one_with(capabilities, work)
    for needed in sorted(capabilities):
        with pytest.raises(UnreachableError, match=needed):
            as_one_with(capabilities - {needed}, work)


def test_an_own_lock_needs_its_capability(control: Control, opened: Opener, tmp_path: Path) -> None:
    """`retain_until` locks one object; without the capability, or without Object Lock, it is refused."""
    path, sha256 = a_file(tmp_path, 3 * PART)
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)
    with pytest.raises(StepError, match="no Object Lock"):
        upload(opened(), path, sha256, retain_until=until)
    with pytest.raises(UnreachableError, match="lacks writeFileRetentions"):
        upload(opened(roles.WRITER), path, sha256, retain_until=until)
    locked = "own-" + os.urandom(6).hex()
    control.create_bucket(locked, lock=True)
    key = control.create_key("k", ALL, bucket=locked)
    with connect(key.key_id, key.application_key, locked, realm=control.url, retries=HASTY) as bucket:
        upload(bucket, path, sha256, retain_until=until)
        bucket.write_small("small", b"x", content_type="text/plain", retain_until=until)
        assert {(o.retention_mode, o.retained_until) for o in bucket.list()} == {("compliance", until)}


def test_an_expired_key(control: Control, opened: Opener, tmp_path: Path) -> None:
    """A key that ends between two steps is named; its secret is not."""
    path, sha256 = a_file(tmp_path, 10)
    bucket = opened(valid_seconds=3600)
    control.advance_seconds(4000)
    with pytest.raises(UnreachableError, match=r"B2 refuses key \w+: it is wrong, deleted or expired"):
        upload(bucket, path, sha256)


def test_a_wrong_key(control: Control, bucket_name: str) -> None:
    """A wrong secret is refused at once, and shown nowhere."""
    key = control.create_key("k", roles.WRITER, bucket=bucket_name)
    secret = "K005-this-is-not-the-key"
    with pytest.raises(UnreachableError, match=f"B2 refuses key {key.key_id}") as error:
        connect(key.key_id, secret, bucket_name, realm=control.url)
    assert secret not in str(error.value)
    assert error.value.__cause__ is None
    assert secret not in redact(f"oops {secret}")


def test_a_missing_bucket(control: Control, bucket_name: str, opened: Opener) -> None:
    """A bucket that never was, or vanished, or is another's: said so, whatever the key."""
    whole = control.create_key("k", ALL)
    with pytest.raises(UnreachableError, match="bucket not-there: there is no such bucket"):
        connect(whole.key_id, whole.application_key, "not-there", realm=control.url)
    key = control.create_key("k", ALL, bucket=bucket_name)
    with pytest.raises(UnreachableError, match=r"bucket not-there: key .* is for another bucket"):
        connect(key.key_id, key.application_key, "not-there", realm=control.url)
    unrestricted = control.create_key("k", roles.WRITER)
    with pytest.raises(UnreachableError, match=r"may not find it .*lacks listBuckets"):
        connect(unrestricted.key_id, unrestricted.application_key, bucket_name, realm=control.url)
    bucket = opened()
    control.remove_bucket(bucket_name)
    with pytest.raises(UnreachableError, match="there is no such bucket"):
        bucket.find("x")
    with pytest.raises(UnreachableError, match="there is no such bucket"):
        connect(key.key_id, key.application_key, bucket_name, realm=control.url)


def test_a_key_for_other_names(opened: Opener, tmp_path: Path) -> None:
    """A key with a name prefix is told from one without the capability."""
    path, sha256 = a_file(tmp_path, 10)
    with pytest.raises(UnreachableError, match="limited to names that start with 'records/'"):
        upload(opened(name_prefix="records/"), path, sha256)


def test_nobody_answers() -> None:
    """An address where nothing listens is given up after the time that was given."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        realm = f"http://127.0.0.1:{unused.getsockname()[1]}"
    short = RetryPolicy(give_up_after_seconds=0.1, first_wait_seconds=0.01)
    with pytest.raises(UnreachableError, match=r"bucket b: could not log in: .*gave up"):
        connect("key", "a-secret-key", "b", realm=realm, retries=short)


def test_a_wrong_clock(control: Control, opened: Opener) -> None:
    """A clock that is off by more than B2 accepts is named as such, not tried again."""
    bucket = opened()
    control.fault("b2_list_file_names", "clock", seconds=3600)
    with pytest.raises(UnreachableError, match=r"clock is \d+ seconds off"):
        bucket.find("x")


def test_a_full_account(control: Control, opened: Opener, tmp_path: Path) -> None:
    """A cap of the account is not tried again and again."""
    path, sha256 = a_file(tmp_path, 10)
    control.fault("b2_upload_file", "full", times=100)
    with pytest.raises(StepError, match="a cap of the account is reached"):
        upload(opened(), path, sha256)
    assert len(control.calls("b2_upload_file")) == 1


# Reading back


def test_a_flipped_bit(control: Control, bucket_name: str, opened: Opener, tmp_path: Path) -> None:
    """Verification and download both find one bit, and no file appears."""
    path, sha256 = a_file(tmp_path, 5 * PART)
    bucket = opened()
    upload(bucket, path, sha256)
    control.corrupt(bucket_name, NAME, offset=3 * PART + 17)
    with pytest.raises(CheckError, match=f"{bucket_name}: {NAME} is damaged: its SHA-256"):
        bucket.verify(NAME, sha256=sha256)
    with pytest.raises(CheckError, match="damaged"):
        bucket.download(NAME, tmp_path / "back", sha256=sha256)
    with pytest.raises(CheckError, match="near byte"):
        bucket.verify_sample(NAME, path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["object"]


def test_a_truncated_object(control: Control, bucket_name: str, opened: Opener, tmp_path: Path) -> None:
    """An object that became shorter is found by its size, and by its hash where no size is known."""
    path, sha256 = a_file(tmp_path, 5 * PART)
    bucket = opened()
    upload(bucket, path, sha256)
    control.truncate(bucket_name, NAME, size_bytes=4 * PART)
    with pytest.raises(CheckError, match=f"it has {4 * PART} bytes instead of {5 * PART}"):
        bucket.verify(NAME, sha256=sha256, size_bytes=5 * PART)
    with pytest.raises(CheckError, match="its SHA-256"):
        bucket.download(NAME, tmp_path / "back", sha256=sha256)
    with pytest.raises(CheckError, match="bytes instead of"):
        bucket.verify_sample(NAME, path)


def test_samples(opened: Opener, control: Control, tmp_path: Path) -> None:
    """A sample reads the first and last bytes and some between, not all."""
    path, sha256 = a_file(tmp_path, 100 * MEBIBYTE)
    bucket = opened()
    bucket.upload(path, NAME, sha256=sha256)
    seen: list[tuple[int, int]] = []
    bucket.verify_sample(NAME, path, samples=3, progress=lambda *now: seen.append(now))
    assert 2 * 16 * MEBIBYTE < seen[-1][0] == seen[-1][1] < 50 * MEBIBYTE
    # A call is noted once it is answered, which may be a moment after we have what we asked for.
    wait_until(lambda: len(control.calls("b2_download_file")) == 3, "three samples were read")


def test_a_download_that_is_cut(control: Control, opened: Opener, tmp_path: Path) -> None:
    """Ranges go on where they were cut: what arrived is not fetched again."""
    path, sha256 = a_file(tmp_path, 40 * MEBIBYTE)
    bucket = opened()
    bucket.upload(path, NAME, sha256=sha256)
    control.clear()
    control.fault("b2_download_file", "reset", times=6, after_bytes=MEBIBYTE)
    bucket.download(NAME, tmp_path / "back", sha256=sha256)
    assert (tmp_path / "back").read_bytes() == path.read_bytes()
    fetched = sum(call["size_bytes"] for call in control.calls("b2_download_file"))
    assert fetched < 48 * MEBIBYTE


def test_reading_to_a_sink_that_is_cut(control: Control, opened: Opener, tmp_path: Path) -> None:
    """A stream that breaks goes on with the next byte: none is missing, none comes twice."""
    path, sha256 = a_file(tmp_path, 5 * MEBIBYTE)
    bucket = opened()
    upload(bucket, path, sha256)
    control.fault("b2_download_file", "reset", times=4, after_bytes=MEBIBYTE - 17)
    pieces: list[bytes] = []
    assert bucket.read(NAME, pieces.append) == sha256
    assert b"".join(pieces) == path.read_bytes()


def test_a_full_disk(control: Control, opened: Opener, tmp_path: Path) -> None:
    """No room for a download: said before anything is fetched, and nothing is left."""
    path, sha256 = a_file(tmp_path, 20 * MEBIBYTE)
    bucket = opened()
    bucket.upload(path, NAME, sha256=sha256)
    control.clear()
    target = tmp_path / "back"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10 * MEBIBYTE, hard))
        with pytest.raises(StepError, match=re.escape(f"{target}: no room for {NAME}")):
            bucket.download(NAME, target, sha256=sha256)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert control.calls("b2_download_file") == []
    assert sorted(file.name for file in tmp_path.iterdir()) == ["object"]


def test_a_missing_object(bucket_name: str, opened: Opener, tmp_path: Path) -> None:
    """What is not there is named."""
    bucket = opened()
    assert bucket.find("hr") is None
    with pytest.raises(StepError, match=f"{bucket_name}: there is no nothing"):
        bucket.download("nothing", tmp_path / "x", sha256="")


def test_small_objects(control: Control, bucket_name: str, opened: Opener) -> None:
    """Bytes go and come; the same again is nothing, other bytes are refused unless they are to replace."""
    bucket = opened()
    bucket.write_small("a/manifest.json", b"{}", content_type="application/json")
    bucket.write_small("a/manifest.json", b"{}", content_type="application/json")
    assert bucket.read_small("a/manifest.json") == b"{}"
    with pytest.raises(StepError, match="nothing is overwritten"):
        bucket.write_small("a/manifest.json", b"[]", content_type="application/json")
    bucket.write_small("a/manifest.json", b"[]", content_type="application/json", replace=True)
    assert bucket.read_small("a/manifest.json") == b"[]"
    assert len(control.versions(bucket_name)) == 2
    control.corrupt(bucket_name, "a/manifest.json")
    with pytest.raises(CheckError, match="damaged"):
        bucket.read_small("a/manifest.json")


def test_listing_goes_beyond_a_page(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """All objects of a prefix are listed, however many pages they fill."""
    bucket = opened()
    for number in range(7):
        bucket.write_small(f"hr/{number}", b"x", content_type="text/plain")
    bucket.write_small("records/1", b"x", content_type="text/plain")
    monkeypatch.setattr("pipeline.bucket.listing.LISTED_AT_ONCE", 3)
    assert [stored.name for stored in bucket.list("hr/")] == [f"hr/{number}" for number in range(7)]
    assert len(list(bucket.list())) == 8


# Rules


def test_rules_and_lock(control: Control, tmp_path: Path) -> None:
    """What `apply` sets, `inspect` finds; B2 then keeps a backup just so long."""
    name = "rules-" + os.urandom(6).hex()
    control.create_bucket(name)
    key = control.create_key("k", ALL, bucket=name)
    path, sha256 = a_file(tmp_path, 3 * PART)
    with connect(key.key_id, key.application_key, name, realm=control.url, retries=HASTY) as bucket:
        problems = bucket.inspect().problems(keep_days=30, lock_days=10)
        assert len(problems) == 2
        assert "do not keep backups for 30 days" in problems[0]
        assert "Object Lock is off" in problems[1]
        state = bucket.apply(keep_days=30, lock_days=10)
        assert state.problems(keep_days=30, lock_days=10) == []
        assert len(state.problems(keep_days=31, lock_days=11)) == 2
        assert bucket.apply(keep_days=30, lock_days=10) == state
        upload(bucket, path, sha256)
        assert bucket.find(NAME).retention_mode == "compliance"  # type: ignore[union-attr]
        control.advance(days=29)
        assert bucket.find(NAME) is not None
        control.advance(days=1)
        assert bucket.find(NAME) is None
        assert [version["action"] for version in control.versions(name)] == ["hide", "upload"]
        control.advance(days=1)
        assert [version["action"] for version in control.versions(name)] == ["hide"]


@pytest.mark.endurance
def test_what_is_kept_goes_by_no_age_and_when_it_is_hidden_once_its_lock_has_ended(
    control: Control, tmp_path: Path
) -> None:
    name = "kept-" + os.urandom(6).hex()
    control.create_bucket(name)
    key = control.create_key("k", ALL, bucket=name)
    path, sha256 = a_file(tmp_path, 3 * PART)
    with connect(key.key_id, key.application_key, name, realm=control.url, retries=HASTY) as bucket:
        bucket.apply(keep_days=30, lock_days=10)
        copied = bucket.copy(upload(bucket, path, sha256), KEPT + NAME)
        assert copied.retention_mode == "compliance"
        control.advance(days=400)
        assert bucket.find(NAME) is None
        bucket.verify(KEPT + NAME, sha256=sha256)
        bucket.hide(KEPT + NAME)
        assert bucket.find(KEPT + NAME) is None
        control.advance(days=1)
        assert [version["action"] for version in control.versions(name)] == ["hide"]
        control.advance(days=1)
        assert control.versions(name) == []


def test_one_rule_for_every_name_as_it_was_before_is_replaced(opened: Opener) -> None:
    bucket = opened()
    days = {"daysFromUploadingToHiding": 30, "daysFromHidingToDeleting": 1}
    bucket._update("x", (), lifecycle_rules=[{"fileNamePrefix": "", **days}])
    assert "those below _kept/ at any age" in bucket.inspect().problems(keep_days=30, lock_days=None)[0]
    assert bucket.apply(keep_days=30, lock_days=None).problems(keep_days=30, lock_days=None) == []


def test_rules_of_others_are_left(opened: Opener) -> None:
    """A bucket that somebody else has rules for is not taken over."""
    bucket = opened()
    bucket._update("x", (), lifecycle_rules=[{"fileNamePrefix": "logs/", "daysFromHidingToDeleting": 5}])
    with pytest.raises(StepError, match="has lifecycle rules for logs/"):
        bucket.apply(keep_days=30, lock_days=None)


# Memory


@pytest.mark.endurance
def test_memory_is_bounded_and_nothing_is_left_at_home(
    control: Control, bucket_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """300 MB go up, are verified and come down in processes of less than 150 MB.

    The SDK's default would write the key into a database in the home folder.
    """
    path = tmp_path / "large"
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(300):
            piece = os.urandom(1_000_000)
            digest.update(piece)
            file.write(piece)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    (tmp_path / "home").mkdir()
    for what, target in (("upload", path), ("read", tmp_path / "back")):
        process = child(control, bucket_name, what, target, digest.hexdigest(), 16 * MEBIBYTE)
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        assert int(output) < 150_000
    assert list((tmp_path / "home").iterdir()) == []


def test_who_waits_for_b2_is_told_so_once_and_not_by_each_try(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A restore waited for a quarter of an hour without a word."""
    monkeypatch.setattr(connection, "WAIT_SECONDS", 0.0)
    caplog.set_level(logging.INFO, "pipeline")
    policy = RetryPolicy(give_up_after_seconds=0.5, first_wait_seconds=0.01, longest_wait_seconds=0.02)
    with echoing(500) as url, pytest.raises(UnreachableError, match="gave up"):
        connect("id", "key", "school", realm=url, retries=policy)
    lines = [one for one in caplog.records if "bucket school: trying again to log in" in one.getMessage()]
    assert len(lines) > 1
    assert [one.levelname for one in lines].count("WARNING") == 1


def test_a_signal_while_the_sdk_reads_an_answer_is_no_fault_of_b2s() -> None:
    """It was told as "Unknown error", with exit code 3, of a backup that was told to stop."""

    class Answer:
        @property
        def status_code(self) -> int:
            raise StoppedError("stopped by a signal")

    with pytest.raises(SourceError) as caught:
        connection.OneTry._translate_and_retry(Answer, 1)
    assert isinstance(Who("school", "key", None).explain(caught.value, "log in", ()), StoppedError)
