"""`pipeline check` finds, before the night does, what would stop it; `--fix` sets what the bucket lacks."""

import fcntl
import json
import multiprocessing
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from pipeline import settings
from pipeline.errors import PipelineError
from pipeline.observe import preflight
from pipeline.observe.preflight import Finding
from pipeline.sandbox import accounts
from pipeline.sandbox.servers import backup_store
from tests.support.archive import Archive, may_mount, small_disk
from tests.support.night import Night, next_run


def test_all_is_well_on_a_platform_that_stands(night: Night) -> None:
    night.platform.source(
        "shop", "CREATE TABLE item (id int PRIMARY KEY)", "source: shop\ntables: {item: {}}\n"
    )
    checked = night.run("check")
    assert checked.code == 0, checked.out + checked.err
    assert checked.out.splitlines()[-1] == f"check: {len(checked.out.splitlines()) - 1} ok, 0 warnings"
    things = [line.removesuffix(": ok") for line in checked.out.splitlines()]
    assert {
        "scheduler",
        "Vault",
        "warehouse",
        "source shop",
        "database shop",
        "recipients",
        "signatures",
        "bucket backups",
        "key b2/writer",
        "key b2/verifier",
    } <= set(things)


def test_everything_that_is_wrong_is_told_at_once(night: Night) -> None:
    night.platform.source(
        "shop", "CREATE TABLE item (id int PRIMARY KEY)", "source: shop\ntables: {item: {}}\n"
    )
    night.platform.declare("shop", "source: shop\ntables: {item: {chnages: full}}\n")
    broken = night.platform.settings_file.read_text().replace(
        "keep_days = 30", "keep_days = 60\nlock_days = 30"
    )
    night.platform.settings_file.write_text(broken)
    night.ask("shop", f'ALTER ROLE "{night.platform.reader("shop")}" NOLOGIN')
    checked = night.run("check", "--json")
    assert checked.code == 4
    wrong = {each["subject"]: each["problems"] for each in json.loads(checked.out) if each["problems"]}
    assert set(wrong) == {"catalog", "source shop", "bucket backups"}
    assert "did you mean changes?" in wrong["catalog"][0]
    assert "run 'pipeline check --fix' with an admin key" in wrong["bucket backups"][0]


def test_a_declared_table_that_cannot_be_read_is_told_before_the_night(night: Night) -> None:
    """One that is not there, one that our role may not read, and a column of one that is not excluded."""
    night.platform.source(
        "shop",
        "CREATE TABLE item (id int PRIMARY KEY); CREATE TABLE closed (id int PRIMARY KEY);"
        "CREATE TABLE part (id int PRIMARY KEY, salary int, iban text)",
        "source: shop\ntables: {item: {}, closed: {}, itme: {}, part: {changes: full, columns: {iban: {mask: "
        "exclude}}}}\n",
    )
    reader = night.platform.reader("shop")
    night.ask("shop", f'REVOKE ALL ON closed, part FROM PUBLIC, "{reader}"')
    night.ask("shop", f'GRANT SELECT (id) ON part TO "{reader}"')
    checked = night.run("check", "--json")
    assert checked.code == 4
    wrong = {each["subject"]: each["problems"] for each in json.loads(checked.out) if each["problems"]}
    assert set(wrong) == {"source shop"}
    closed, missing, part = sorted(wrong["source shop"])
    assert closed.startswith("shop.closed: the source's role may not read")
    assert 'shop.itme: there is no table or view "itme"' in missing
    assert '(the source has "item")' in missing
    assert part.startswith('shop.part: the source\'s role may not read its columns "salary"; GRANT SELECT (')
    run = next_run()
    for name, line in (("closed", closed), ("itme", missing), ("part", part)):
        with pytest.raises(PipelineError) as caught:
            night.extract("shop", run, name)
        fact = line.partition(": ")[2].partition(";")[0]
        assert fact in str(caught.value), "the night says the same"


def test_fix_sets_rules_and_lock_with_the_admin_key_alone(night: Night, tmp_path: Path) -> None:
    night.platform.source(
        "shop", "CREATE TABLE item (id int PRIMARY KEY)", "source: shop\ntables: {item: {}}\n"
    )
    assert night.run("check", "--fix").code == 2
    home = night.platform.sandbox.home
    token = json.loads((home.vault_keys / "init.json").read_text())["root_token"]
    file = tmp_path / "token"
    file.write_text(token)
    file.chmod(0o600)
    refused = night.run("check", "--fix", "--admin-secret", backup_store.WRITER, "--token-file", str(file))
    assert refused.code == 5
    fixed = night.run("check", "--fix", "--admin-secret", backup_store.ADMIN, "--token-file", str(file))
    assert fixed.code == 0, fixed.out + fixed.err
    assert "bucket backups keeps backups for 30 days, and locks new objects for 30 days" in fixed.out


def test_a_key_of_the_bucket_that_a_night_cannot_use_is_told(archive: Archive) -> None:
    """Too little is found before the night, and so is a key that is not let in any more."""
    archive.source("shop", "CREATE TABLE item (id int PRIMARY KEY)")
    control, bucket, vault = archive.control, archive.bucket_name, archive.platform.sandbox.vault
    lesser = control.create_key("lesser", ["readFiles", "listFiles"], bucket=bucket)
    gone = control.create_key("gone", backup_store.KEYS[backup_store.WRITER], bucket=bucket, valid_seconds=60)
    control.delete_key(gone.key_id)
    for entry, key in ((backup_store.VERIFIER, lesser), (backup_store.WRITER, gone)):
        vault.write(archive.entries + entry, {"key_id": key.key_id, "application_key": key.application_key})
    checked = archive.run("check", "--json")
    assert checked.code == 4, checked.out + checked.err
    wrong = {each["subject"]: each["problems"] for each in json.loads(checked.out) if each["problems"]}
    assert "it lacks readFileRetentions" in wrong[f"key {archive.entries}{backup_store.VERIFIER}"][0]
    assert "wrong, deleted or expired" in wrong[f"key {archive.entries}{backup_store.WRITER}"][0]


@pytest.mark.endurance
def test_the_lines_of_a_file_of_public_keys_are_told_before_there_is_one(archive: Archive) -> None:
    """Every message about that file says that this command tells them; and one key hides no other's line."""
    # Vault's keys outlive a test: nobody else's databases are called so.
    for name in ("told_first", "told"):
        archive.source(name, "CREATE TABLE item (id int PRIMARY KEY)")
    file = archive.settings.require_backup().signers
    assert file is not None
    lines = file.read_text().splitlines()
    file.unlink()
    vault = archive.platform.sandbox.vault
    key = f"transit/keys/{archive.settings.vault.signing_key('told_first')}"
    vault.call("POST", f"{key}/config", {"deletion_allowed": True})
    vault.call("DELETE", key)
    checked = archive.run("check", "--json")
    assert checked.code == 4, checked.out + checked.err
    (wrong,) = (each["problems"] for each in json.loads(checked.out) if each["subject"] == "signatures")
    (line,) = (line for line in lines if line.startswith("told "))
    said = f"{file} lacks a key of told; write this line there, and on each machine that restores: {line}"
    assert wrong[1:] == [said]
    assert "there is no key" in wrong[0]
    assert "type: bao secrets enable -path=transit transit" in wrong[0]


@pytest.mark.endurance
def test_a_missing_key_of_the_masks_is_found_with_the_command_that_makes_it(night: Night) -> None:
    """Only where a file asks for a hash; and the sandbox has one, so that it can be tried there."""
    night.platform.source(
        "shop", "CREATE TABLE item (id int PRIMARY KEY, iban text)", "source: shop\ntables: {item: {}}\n"
    )
    vault = night.platform.sandbox.vault
    kept = vault.read("mask")
    assert kept, "the sandbox has a key"
    vault.remove("mask")
    try:
        assert "masks" not in night.run("check").out
        night.platform.declare("shop", "source: shop\ntables: {item: {columns: {iban: {mask: hash}}}}\n")
        checked = night.run("check", "--json")
    finally:
        vault.write("mask", kept)
    assert checked.code == 4, checked.out + checked.err
    ((thing, problem),) = [
        (each["subject"], problem) for each in json.loads(checked.out) for problem in each["problems"]
    ]
    assert thing == "masks"
    command = "head -c 32 /dev/urandom | base64 -w0 | vault kv put -cas=0 -mount=secret pipeline/mask key=-"
    assert f"type: {command}" in problem
    assert "another key changes every hash" in problem
    assert "masks: ok" in night.run("check").out


def test_without_alerts_there_is_a_warning_and_not_a_problem(night: Night) -> None:
    night.platform.source(
        "shop", "CREATE TABLE item (id int PRIMARY KEY)", "source: shop\ntables: {item: {}}\n"
    )
    lines = night.platform.settings_file.read_text().splitlines()
    begin = lines.index("[alerts]")
    end = next(number for number in range(begin + 1, len(lines)) if lines[number].startswith("["))
    night.platform.settings_file.write_text("\n".join(lines[:begin] + lines[end:]) + "\n")
    checked = night.run("check")
    assert checked.code == 0, checked.out + checked.err
    assert "alerts: warning: no alert is sent when something fails; write [alerts]" in checked.out
    assert checked.out.splitlines()[-1].endswith("ok, 1 warning")


def test_two_sections_that_lead_to_one_database_are_a_warning(night: Night) -> None:
    """Each of its backups would be sound, and the database that the other is meant for would have none."""
    platform = night.platform
    platform.source("shop", "CREATE TABLE item (id int PRIMARY KEY)")
    database, vault = platform.database("shop"), platform.sandbox.vault
    other = f"database/{platform.database('other')}"
    for secret, hint in (
        (other, f"correct uri in the entry of one of them in Vault, database/{database} or {other}"),
        (f"database/{database}", "correct secret in one of them"),
    ):
        platform.more["database.other"] = {"secret": secret}
        platform.write_settings()
        vault.write(other, vault.read(f"database/{database}") or {})
        try:
            checked = night.run("check", "--json")
        finally:
            vault.remove(other)
        found = {each["subject"]: each for each in json.loads(checked.out)}
        assert (found["database shop"]["problems"], found["database shop"]["warnings"]) == ([], [])
        assert found["database other"]["problems"] == []
        said = f'[database.shop] and [database.other] both back up "{database}" of one server; {hint}'
        assert found["database other"]["warnings"] == [said]


def _as(account: accounts.Account | None, look: Callable[[], list[Finding]]) -> list[Finding]:
    """Return what an unprivileged user finds: root may write anywhere."""

    def become_and_look(end: Connection) -> None:
        if account:
            os.setgroups([])
            os.setresgid(account.group, account.group, account.group)
            os.setresuid(account.user, account.user, account.user)
        end.send(look())

    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=become_and_look, args=(theirs,))
    process.start()
    # Else nobody would notice that it ended without a word.
    theirs.close()
    found: list[Finding] = ours.recv()
    process.join()
    return found


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that everybody may enter, as those of pytest are not."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_a_folder_that_cannot_be_written_is_found_before_the_night(night: Night, public: Path) -> None:
    """Logs are a comfort, so that is a warning; alerts and dumps are not. Nothing is made by looking."""
    night.platform.source(
        "shop", "CREATE TABLE item (id int PRIMARY KEY)", "source: shop\ntables: {item: {}}\n"
    )
    owned, file, closed = public / "owned", public / "file", public / "closed"
    owned.mkdir(mode=0o555)
    file.touch()
    closed.mkdir(mode=0o700)
    if not (account := accounts.server_account()):
        closed.chmod(0o000)
    text = night.platform.settings_file.read_text()
    wanted = {"spool": file / "alerts", "work_dir": closed / "work", "folder": owned / "logs"}
    for key, value in wanted.items():
        (line,) = [each for each in text.splitlines() if each.startswith(f"{key} = ")]
        text = text.replace(line, f"{key} = {value}")
    night.platform.settings_file.write_text(text)
    configured = settings.read([night.platform.settings_file], night.platform.env)
    found = {each.subject: each for each in _as(account, lambda: list(preflight.folders(configured)))}
    (logs,) = found[f"folder {owned / 'logs'}"].warnings
    assert f"cannot be reached or created, because {owned} may not be written" in logs
    assert f"install -d -m 0700 -o {account.user if account else os.geteuid()} {owned / 'logs'}" in logs
    (spool,) = found[f"folder {file / 'alerts'}"].problems
    assert f"{file} is a file, not a folder" in spool
    (work,) = found[f"folder {closed / 'work'}"].problems
    assert f"cannot be reached or created, because {closed} may not be written" in work
    assert "set [backup] work_dir" in work
    assert list(owned.iterdir()) == []


@pytest.mark.skipif(not may_mount(), reason="only root may mount a file system")
def test_a_full_disk_and_one_that_is_read_only_are_found_before_the_night(
    night: Night, tmp_path: Path
) -> None:
    """Permissions say nothing of either."""
    with small_disk(tmp_path, 1 << 16) as disk:
        text = night.platform.settings_file.read_text()
        (line,) = [each for each in text.splitlines() if each.startswith("spool = ")]
        night.platform.settings_file.write_text(text.replace(line, f"spool = {disk / 'alerts'}"))
        configured = settings.read([night.platform.settings_file], night.platform.env)
        with pytest.raises(OSError, match="No space"):
            (disk / "dump").write_bytes(bytes(1 << 17))
        for remount, told in (("rw", "its disk is full (0 bytes are free); make room"), ("ro", "read-only")):
            subprocess.run(["/bin/mount", "-o", f"remount,{remount}", disk], check=True)
            found = {each.subject: each for each in preflight.folders(configured)}
            (problem,) = found[f"folder {disk / 'alerts'}"].problems
            assert told in problem


def test_a_line_goes_on_at_a_space_where_the_terminal_ends() -> None:
    """Elsewhere it is as long as it must be."""
    problem = " ".join(["word"] * 60)
    code = (
        "from pipeline.cli.oncall import check; from pipeline.observe.preflight import Finding; "
        f"check._show(Finding('source shop', ({problem!r},)))"
    )
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 70, 0, 0))
    variables = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    with os.fdopen(theirs, "w") as terminal:
        subprocess.run(
            [sys.executable, "-c", code], stdout=terminal, stdin=terminal, env=variables, check=True
        )
    with os.fdopen(ours, "rb", buffering=0) as reader:
        shown = re.sub(r"\x1b\[[\d;]*m", "", reader.read(5000).decode()).splitlines()
    assert len(shown) > 1
    assert all(len(line) <= 70 for line in shown)
    assert " ".join(line.strip() for line in shown).strip() == f"source shop: {problem}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"source shop: {problem}\n"


def test_a_thing_is_named_once_in_its_line(night: Night) -> None:
    night.platform.source(
        "shop", "CREATE TABLE item (id int PRIMARY KEY)", "source: shop\ntables: {item: {}}\n"
    )
    night.ask("shop", f'ALTER ROLE "{night.platform.reader("shop")}" NOLOGIN')
    checked = night.run("check")
    assert checked.code == 4
    (line,) = [line for line in checked.out.splitlines() if line.startswith("source shop: ")]
    assert line.count("source shop") == 1, line
