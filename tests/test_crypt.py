"""Encryption with the real gpg: each key opens what comes out, no other does, no failure passes for done."""

import base64
import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import gnupg
import psutil
import pytest

from pipeline import crypt
from pipeline.errors import CheckError, ProblemsError, StepError
from pipeline.system import command
from tests.support.archive import may_mount, small_disk

NOW = datetime.now(UTC)
GPG = Path(shutil.which("gpg") or "gpg")
TEXT = b"rows of a school\n" * 50_000


class Keys:
    """Key pairs, made once: public halves in files, private ones in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.private: dict[str, str] = {}

    def make(self, name: str, expires: str = "0") -> Path:
        public, self.private[name] = crypt.new_key_pair(
            name, f"{name}@test.invalid", expires=expires, folder=self.folder
        )
        path = self.folder / f"{name}.asc"
        path.write_text(public)
        return path


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    made = Keys(tmp_path_factory.mktemp("keys"))
    for name in ("school", "safe"):
        made.make(name)
    return made


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    path = tmp_path / "dump"
    path.write_bytes(TEXT)
    return path


def encrypted(keys: Keys, plain: Path, *names: str) -> Path:
    target = plain.with_suffix(".gpg")
    paths = [keys.folder / f"{name}.asc" for name in names or ("school", "safe")]
    with crypt.keyring(paths, now=NOW, folder=plain.parent) as ring:
        ring.encrypt(plain, target)
    return target


@pytest.mark.parametrize("name", ["school", "safe"])
def test_each_recipient_alone_opens_it(keys: Keys, plain: Path, name: str) -> None:
    """Either key may be lost."""
    target = encrypted(keys, plain)
    back = plain.with_suffix(".back")
    with crypt.private_key(keys.private[name], folder=plain.parent) as key:
        digest = key.decrypt(target, back)
    assert back.read_bytes() == TEXT
    assert (digest.size_bytes, back.stat().st_mode & 0o777) == (len(TEXT), 0o600)


def test_digests_are_those_of_the_files(keys: Keys, plain: Path) -> None:
    target = plain.with_suffix(".gpg")
    passed: list[int] = []
    paths = [keys.folder / "school.asc", keys.folder / "safe.asc"]
    with crypt.keyring(paths, now=NOW, folder=plain.parent) as ring:
        before, after = ring.encrypt(plain, target, passed.append)
    for path, digest in ((plain, before), (target, after)):
        said = subprocess.run(["/usr/bin/sha256sum", path], capture_output=True, text=True, check=True).stdout
        assert (said.split()[0], path.stat().st_size) == (digest.sha256, digest.size_bytes)
    assert sum(passed) == len(TEXT)
    assert target.stat().st_mode & 0o777 == 0o600


def test_the_format_is_binary_aes_256_uncompressed_and_protected(keys: Keys, plain: Path) -> None:
    """A change of gpg's defaults, or of a key's preferences, must not weaken or slow it."""
    target = encrypted(keys, plain)
    assert not target.read_bytes().startswith(b"-----")
    packets = subprocess.run(
        [GPG, "--homedir", plain.parent, "--no-autostart", "--batch", "--list-packets", target],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    assert packets.count(":pubkey enc packet:") == 2
    assert "mdc_method: 2" in packets or ":aead encrypted packet:" in packets
    # Compressed, these repeated rows would be tiny.
    assert target.stat().st_size > len(TEXT)


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of this test's own for homes: other tests have agents as well. Sockets need a short name."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setattr("pipeline.crypt.gpg.MEMORY", folder)
        yield Path(folder)


@pytest.mark.endurance
@pytest.mark.parametrize("deaf", [False, True])
def test_nothing_is_left_of_homes_and_agents(keys: Keys, plain: Path, memory: Path, deaf: bool) -> None:
    """Also where the agent does not hear that it is to end: it holds the private key."""
    target = encrypted(keys, plain)
    with crypt.private_key(keys.private["safe"], folder=plain.parent) as key:
        key.decrypt(target, plain.with_suffix(".back"))
        (agent,) = _agents(memory)
        if deaf:
            agent.suspend()
    # What was killed is gone at once, but for what the kernel tidies up after it.
    assert psutil.wait_procs([agent], timeout=60)[1] == []
    assert not list(memory.iterdir())
    assert sorted(path.name for path in plain.parent.iterdir()) == ["dump", "dump.back", "dump.gpg"]


def _agents(folder: Path) -> list[psutil.Process]:
    """Return the agents that live and have their home below `folder`."""
    found = []
    for process in psutil.process_iter(["name"]):
        with contextlib.suppress(psutil.Error):
            if process.info["name"] == "gpg-agent" and str(folder) in " ".join(process.cmdline()):
                found.append(process)
    return found


def test_all_that_is_wrong_with_the_keys_is_told_at_once(keys: Keys, tmp_path: Path) -> None:
    keys.make("old", expires="seconds=1")
    (tmp_path / "private.asc").write_text(keys.private["school"])
    (tmp_path / "noise.asc").write_text("no key")
    school, safe = (keys.folder / f"{name}.asc" for name in ("school", "safe"))
    (tmp_path / "both.asc").write_text(school.read_text() + safe.read_text())
    (tmp_path / "revoked.asc").write_text(_revoked(tmp_path))
    (tmp_path / "signing.asc").write_text(_signing_only(tmp_path))
    names = ["missing", "private", "noise", "both", "revoked", "signing"]
    paths = [*(tmp_path / f"{name}.asc" for name in names), keys.folder / "old.asc", school, school]
    with (
        pytest.raises(ProblemsError) as caught,
        crypt.keyring(paths, now=datetime.now(UTC) + timedelta(seconds=3), folder=tmp_path),
    ):
        pass
    told = [problem.partition(": ")[2] for problem in caught.value.problems[:-1]]
    assert [text.split("; ")[0] for text in told] == [
        "cannot be read: No such file or directory",
        "is a private key",
        "holds no public key",
        "holds several public keys",
        "revoked <revoked@test.invalid>: is revoked",
        "signing <signing@test.invalid>: cannot encrypt: it has no key for that",
        f"old <old@test.invalid>: expired on {datetime.now(UTC):%Y-%m-%d}",
    ]
    assert "is named twice" in caught.value.problems[-1]


def _packet(tag: int, body: bytes) -> bytes:
    return bytes([0xC0 | tag, len(body)]) + body


def test_a_key_of_openpgp_version_6_is_told_as_such_with_what_to_ask_its_owner_for(tmp_path: Path) -> None:
    """As newer tools make it by a profile for RFC 9580: to gpg it is not a key at all."""
    for version, standard in ((6, "RFC 9580"), (5, "LibrePGP")):
        body = bytes([version]) + bytes(4) + bytes([27]) + (32).to_bytes(4, "big") + bytes(32)
        packets = _packet(6, body) + _packet(13, b"new <new@test.invalid>")
        armored = base64.encodebytes(packets).decode()
        head = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n{}\n"
        for name, comment in (("plain", ""), ("commented", "Comment: new <new@test.invalid>\n")):
            file = tmp_path / f"{name}-{version}.asc"
            file.write_text(f"{head.format(comment)}{armored}-----END PGP PUBLIC KEY BLOCK-----\n")
        (tmp_path / f"raw-{version}.asc").write_bytes(packets)
        for name in ("plain", "commented", "raw"):
            with (
                pytest.raises(ProblemsError) as caught,
                crypt.keyring([tmp_path / f"{name}-{version}.asc"], now=NOW, folder=tmp_path),
            ):
                pass
            (told,) = caught.value.problems
            assert f"its key is of OpenPGP version {version} ({standard}), which GnuPG" in told
            assert "ask its owner for a key of version 4" in told


def _library(folder: Path) -> gnupg.GPG:
    home = folder / "h"
    home.mkdir(mode=0o700, exist_ok=True)
    return gnupg.GPG(gnupghome=str(home))


def _end_agent(folder: Path) -> None:
    subprocess.run([GPG.with_name("gpgconf"), "--homedir", folder / "h", "--kill", "all"], check=True)


def _made(folder: Path, name: str, **more: str) -> tuple[gnupg.GPG, str]:
    gpg = _library(folder)
    wanted = {
        "key_type": "EDDSA",
        "key_curve": "ed25519",
        "key_usage": "cert,sign",
        "name_real": name,
        "name_email": f"{name}@test.invalid",
        "expire_date": "0",
        "no_protection": True,
        **more,
    }
    return gpg, gpg.gen_key(gpg.gen_key_input(**wanted)).fingerprint


def _signing_only(folder: Path) -> str:
    gpg, fingerprint = _made(folder, "signing")
    _end_agent(folder)
    exported: str = gpg.export_keys(fingerprint)
    return exported


def _revoked(folder: Path) -> str:
    gpg, fingerprint = _made(folder, "revoked", subkey_type="ECDH", subkey_curve="cv25519")
    certificate = (folder / "h" / "openpgp-revocs.d" / f"{fingerprint}.rev").read_text()
    # The colon keeps it from being used by mistake.
    gpg.import_keys(certificate.replace(":-----BEGIN", "-----BEGIN"))
    _end_agent(folder)
    exported: str = gpg.export_keys(fingerprint)
    return exported


@pytest.mark.parametrize(("days", "warned"), [(29, True), (31, False)])
def test_a_key_that_expires_within_30_days_warns(
    keys: Keys, tmp_path: Path, days: int, *, warned: bool
) -> None:
    path = keys.make(f"lasting{days}", expires=f"{days}d")
    with crypt.keyring([keys.folder / "school.asc", path], now=datetime.now(UTC), folder=tmp_path) as ring:
        assert [f"lasting{days}" in warning for warning in ring.warnings] == [True] * warned
        assert ring.recipients[0].expires_at is None


def test_a_killed_gpg_is_no_success(keys: Keys, plain: Path) -> None:
    """Its output is cut short, and the library alone would not always tell."""
    plain.write_bytes(TEXT * 20)

    def kill(_size: int) -> None:
        for child in psutil.Process().children():
            if child.name() == "gpg":
                child.kill()

    paths = [keys.folder / "school.asc", keys.folder / "safe.asc"]
    with (
        crypt.keyring(paths, now=NOW, folder=plain.parent) as ring,
        pytest.raises(StepError, match=r"dump could not be encrypted: gpg was killed by signal 9"),
    ):
        ring.encrypt(plain, plain.with_suffix(".gpg"), kill)


@pytest.mark.skipif(not may_mount(), reason="only root may mount a small disk")
def test_a_full_disk_is_no_success(keys: Keys, plain: Path, tmp_path: Path) -> None:
    """The library says "encryption ok" of what was cut short."""
    with small_disk(tmp_path, len(TEXT) // 2) as disk:
        paths = [keys.folder / "school.asc", keys.folder / "safe.asc"]
        with (
            crypt.keyring(paths, now=NOW, folder=tmp_path) as ring,
            pytest.raises(StepError, match=f"{disk}/dump.gpg: cannot be written: No space left on device"),
        ):
            ring.encrypt(plain, disk / "dump.gpg")


def test_a_clock_that_is_in_the_past_is_told_with_what_is_wrong_with_the_others(
    keys: Keys, tmp_path: Path
) -> None:
    """A key is from the future then, and gpg does not take it."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    gpg = [str(GPG), "--homedir", str(home), "--batch", "--faked-system-time", "20990101T000000"]
    made = [*gpg, "--passphrase", "", "--quick-gen-key", "later@test.invalid", "default", "default", "never"]
    subprocess.run(made, check=True, capture_output=True)
    exported = subprocess.run([*gpg, "--armor", "--export"], check=True, capture_output=True).stdout
    command.kill_started_with(home)
    (keys.folder / "later.asc").write_bytes(exported)
    paths = [keys.folder / f"{name}.asc" for name in ("later", "nowhere", "school")]
    with pytest.raises(ProblemsError) as told, crypt.keyring(paths, now=NOW, folder=tmp_path):
        pass
    later, nowhere = told.value.problems
    assert "was made in the future" in later
    assert later.endswith("set this machine's clock")
    assert "cannot be read" in nowhere


@pytest.mark.skipif(not may_mount(), reason="only root may mount a small disk")
def test_a_disk_without_room_for_keys_is_told_as_that(keys: Keys, tmp_path: Path) -> None:
    """gpg itself says that there is no key in any of the files: somebody would put others there."""
    with small_disk(tmp_path, 64 * 1024) as disk:
        with (
            pytest.raises(StepError, match="bytes are free, too few for gpg to import keys; make room there"),
            crypt.keyring([keys.folder / "school.asc"], now=NOW, folder=disk),
        ):
            pass
        assert list(disk.iterdir()) == []


def test_a_damaged_file_is_not_decrypted_in_peace(
    keys: Keys, plain: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target = encrypted(keys, plain)
    data = bytearray(target.read_bytes())
    data[len(data) // 2] ^= 1
    target.write_bytes(data)
    with (
        crypt.private_key(keys.private["school"], folder=plain.parent) as key,
        pytest.raises(CheckError, match="could not be decrypted"),
    ):
        key.decrypt(target, plain.with_suffix(".back"))
    # A drill damages a file on purpose: the library's own warning would frighten who reads its log.
    assert caplog.messages == []


def test_a_wrong_key_is_told_as_that(keys: Keys, plain: Path) -> None:
    target = encrypted(keys, plain, "safe")
    with (
        crypt.private_key(keys.private["school"], folder=plain.parent) as key,
        pytest.raises(CheckError, match="is not encrypted to this private key"),
    ):
        key.decrypt(target, plain.with_suffix(".back"))


def test_what_is_no_private_key_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(StepError, match="the entry in Vault is not a private key"),
        crypt.private_key("no key at all", folder=tmp_path),
    ):
        pass
