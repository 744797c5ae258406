"""Whole backups through Luigi and its scheduler, killed and stopped at every stage.

Each run ends with exactly one verified backup, nothing in the clear, nothing unfinished, nothing done twice.
"""

import contextlib
import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from pipeline import postgres
from pipeline.sandbox.servers import clusters
from pipeline.system import process_tree
from tests.support.archive import INCOMPRESSIBLE, SMALL, Archive, may_mount, script, small_disk, whole
from tests.support.night import next_run, wait_until

PG_DUMP = clusters.BINARIES / "pg_dump"


def log_of(archive: Archive, name: str) -> list[str]:
    path = archive.folder / f"{name}.log"
    return path.read_text().splitlines() if path.exists() else []


def watched_tools(archive: Archive) -> Path:
    """Return a folder with gpg and pg_dump that note each dump and each encryption that is begun.

    They wait while there is a file called `hold-pg_dump` or `hold-gpg`.
    """
    gpg = "/usr/bin/gpg"
    for name, real, sign in (("pg_dump", PG_DUMP, "--snapshot"), ("gpg", gpg, "--encrypt")):
        log, hold = archive.folder / f"{name}.log", archive.folder / f"hold-{name}"
        made = script(
            archive.folder,
            name,
            f'case "$*" in *{sign}*) echo $$ >> {log}; while [ -e {hold} ]; do sleep 0.05; done;; esac\n'
            f'exec {real} "$@"',
        )
    archive.write_settings(postgres_bin=str(made))
    return made


def plaintext(archive: Archive) -> list[str]:
    """Return the names of the files below the work folder that may hold rows in the clear."""
    work = archive.folder / "work"
    return [path.name for path in work.rglob("*") if path.is_file() and ".dump" in path.name + path.suffix]


def settled(archive: Archive, database: str, run: str) -> None:
    """Hold a run to all that is promised of its end."""
    assert archive.names() == whole(database, run)
    assert plaintext(archive) == []
    folder = archive.work(database, run)
    assert not folder.folder.exists()
    assert archive.ours() == []
    dump, roles = archive.download(database, run)
    assert dump.read_bytes().startswith(b"PGDMP")
    assert "CREATE ROLE" in roles.read_text()


def test_a_backup_is_made_listed_and_not_made_again_and_nothing_of_a_credential_is_kept(
    archive: Archive,
) -> None:
    """Stopped as it reads back, and made by the same command. No credential is in what it says, in the work
    folder of a run that goes on, or in the bucket's manifest.
    """
    archive.source("shop", SMALL)
    run = next_run()
    vault = archive.platform.sandbox.vault
    secrets = [
        (vault.read(f"database/{archive.platform.database('shop')}") or {})["uri"]
        .split(":")[2]
        .split("@")[0],
        (vault.read(f"{archive.entries}b2/writer") or {})["application_key"],
        (vault.read(f"{archive.entries}b2/verifier") or {})["application_key"],
    ]
    with verifying(archive) as reached:
        started = archive.start("shop", run)
        wait_until(reached, "it reads back")
        kept = b"".join(path.read_bytes() for path in work_files(archive))
        assert kept
        for process in archive.ours():
            with contextlib.suppress(psutil.NoSuchProcess):
                kept += " ".join(process.cmdline()).encode()
        started.send_signal(signal.SIGTERM)
        out, err = started.communicate(timeout=60)
    kept += (out + err).encode()
    ended = archive.backup("shop", run)
    assert (ended.code, ended.errors) == (0, [])
    settled(archive, "shop", run)
    kept += (ended.out + ended.err).encode() + archive.manifest("shop", run).to_bytes()

    ended = archive.backup("shop", run)
    assert ended.code == 0
    assert f"run {run} of shop is complete already; nothing to do" in ended.out
    settled(archive, "shop", run)

    listed = archive.run("backups", "shop")
    assert [line.split()[:2] for line in listed.out.splitlines()[1:]] == [["shop", run]]
    as_json = archive.run("backups", "--json")
    (found,) = json.loads(as_json.out)["backups"]
    assert (found["run"], found["verified"], found["change"]) == (run, True, None)
    assert found["locked_until"] is not None
    kept += (listed.out + listed.err + as_json.out + as_json.err).encode()
    for secret in secrets:
        assert secret.encode() not in kept


@pytest.mark.endurance
def test_the_warehouse_and_the_scheduler_are_not_needed(archive: Archive) -> None:
    """What saves the data must work when everything else is down."""
    archive.source("shop", SMALL)
    run = next_run()
    text = archive.platform.settings_file.read_text()
    text = text.replace(f"secret = {archive.platform.database('warehouse')}", "secret = nowhere")
    port = archive.platform.sandbox.home.state.ports["luigid"]
    text = text.replace(f"default-scheduler-port = {port}", "default-scheduler-port = 9")
    archive.platform.settings_file.write_text(text)
    ended = archive.backup("shop", run)
    assert (ended.code, ended.errors) == (0, [])
    settled(archive, "shop", run)


@pytest.mark.endurance
@pytest.mark.parametrize("entry", [None, {"worker": "the wrong password of the worker"}])
def test_a_scheduler_that_lets_nobody_in_is_not_needed(
    archive: Archive, entry: dict[str, str] | None
) -> None:
    """Nor one whose password is not in Vault."""
    archive.source("shop", SMALL)
    run, name = next_run(), archive.platform.database("scheduler")
    if entry:
        archive.platform.sandbox.vault.write(name, entry)
    text = archive.platform.settings_file.read_text()
    assert text.count("secret = scheduler\n") == 1
    archive.platform.settings_file.write_text(text.replace("secret = scheduler\n", f"secret = {name}\n"))
    ended = archive.backup("shop", run)
    assert (ended.code, ended.errors) == (0, [])
    assert "continuing without it" in ended.err
    settled(archive, "shop", run)


# Where a run is stopped: while it dumps, encrypts, uploads and reads back.


@contextlib.contextmanager
def dumping(archive: Archive) -> Iterator[Callable[[], object]]:
    hold = archive.folder / "hold-pg_dump"
    hold.touch()
    yield lambda: log_of(archive, "pg_dump")
    hold.unlink()


@contextlib.contextmanager
def encrypting(archive: Archive) -> Iterator[Callable[[], object]]:
    hold = archive.folder / "hold-gpg"
    hold.touch()
    yield lambda: log_of(archive, "gpg")
    hold.unlink()


@contextlib.contextmanager
def uploading(archive: Archive) -> Iterator[Callable[[], object]]:
    """The first part gets there, the others do not come to an end."""
    archive.control.clear()
    archive.control.fault("b2_upload_part", "slow", times=1000, skip=1, bytes_per_second=2_000_000)
    yield lambda: [call for call in archive.control.calls("b2_upload_part") if call["status"] == 200]
    archive.control.clear()


@contextlib.contextmanager
def verifying(archive: Archive, bytes_per_second: int = 2_000_000) -> Iterator[Callable[[], object]]:
    archive.control.clear()
    archive.control.fault("b2_download_file", "slow", times=1000, bytes_per_second=bytes_per_second)
    work = archive.folder / "work"
    yield lambda: [path for path in work.rglob("status.json") if "VerifyBackup" in path.read_text()]
    archive.control.clear()


STAGES = {"dump": dumping, "encrypt": encrypting, "upload": uploading, "verify": verifying}
# What each stage has behind it: how often pg_dump and gpg have been begun when the same command is through.
ONCE_MORE = {"dump": (2, 2), "encrypt": (1, 3), "upload": (1, 2), "verify": (1, 2)}


def everything(archive: Archive, _command: int) -> list[psutil.Process]:
    return archive.ours()


def command(_archive: Archive, started: int) -> list[psutil.Process]:
    return [psutil.Process(started)]


def step(archive: Archive, _command: int) -> list[psutil.Process]:
    """Return the process that does the work: Luigi's grandchild, which has no other Python below it."""
    luigi = []
    for one in archive.ours():
        with contextlib.suppress(psutil.NoSuchProcess):  # such as gpg's, which come and go
            if "tasks.worker.run" in one.cmdline():
                luigi.append(one)
    return [one for one in luigi if one.parent() in luigi]


VICTIMS = {"everything": everything, "command": command, "step": step}


@pytest.mark.endurance
@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("stage", STAGES)
def test_killed_at_any_stage_the_same_command_completes_it(archive: Archive, stage: str, victim: str) -> None:
    """kill -9 of all processes, of the command alone, and of the step alone, which Luigi then tries again."""
    archive.source("shop", INCOMPRESSIBLE)
    tools = watched_tools(archive)
    run = next_run()
    with STAGES[stage](archive) as reached:
        started = archive.start("shop", run, tools)
        wait_until(reached, f"{stage} has begun")
        for process in VICTIMS[victim](archive, started.pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if victim != "step":
            started.wait()
    if victim == "step":
        # Luigi tries again, but for the encryption: where that fails, there is nothing left to encrypt.
        assert started.wait(timeout=120) == (3 if stage == "encrypt" else 0)
    if victim != "step" or stage == "encrypt":
        ended = archive.backup("shop", run, tools)
        assert (ended.code, ended.errors) == (0, [])
    wait_until(lambda: archive.ours() == [], "everything has ended")
    settled(archive, "shop", run)
    dumps, encryptions = len(log_of(archive, "pg_dump")), len(log_of(archive, "gpg"))
    # A command that is killed alone leaves the step to itself, which completes it.
    most_dumps, most_encryptions = ONCE_MORE[stage]
    assert dumps <= most_dumps
    assert encryptions <= most_encryptions


@pytest.mark.endurance
@pytest.mark.parametrize("stage", STAGES)
def test_told_to_stop_it_stops_and_the_same_command_completes_it(archive: Archive, stage: str) -> None:
    archive.source("shop", INCOMPRESSIBLE)
    tools = watched_tools(archive)
    run = next_run()
    with STAGES[stage](archive) as reached:
        started = archive.start("shop", run, tools)
        wait_until(reached, f"{stage} has begun")
        started.send_signal(signal.SIGTERM)
        assert started.wait(timeout=60) == 143
        assert archive.ours() == []
        with archive.bucket() as opened:
            assert opened.find(f"shop/{run}/manifest.json") is None
    ended = archive.backup("shop", run, tools)
    assert (ended.code, ended.errors) == (0, [])
    settled(archive, "shop", run)
    assert len(log_of(archive, "pg_dump")) == ONCE_MORE[stage][0]
    assert len(log_of(archive, "gpg")) == ONCE_MORE[stage][1]


@pytest.mark.endurance
def test_a_step_over_its_limit_is_ended_told_and_done_by_the_same_command(archive: Archive) -> None:
    """With pg_dump, whatever it waits for; and once more after Luigi has tried again."""
    archive.source("shop", SMALL)
    tools = watched_tools(archive)
    run = next_run()
    archive.write_sections(run={"step_minutes": "0.1"})
    with dumping(archive):
        ended = archive.backup("shop", run, tools)
        assert archive.ours() == []
    assert ended.code == 3
    assert ended.errors[-2].startswith(
        "shop: DumpDatabase failed: over its limit of 0.1 minutes ([run] step_minutes), so it was stopped"
    )
    assert plaintext(archive) == []
    archive.write_sections(run={"step_minutes": "60"})
    ended = archive.backup("shop", run, tools)
    assert (ended.code, ended.errors) == (0, [])
    settled(archive, "shop", run)


@pytest.mark.endurance
def test_a_connection_that_is_closed_while_it_dumps(archive: Archive) -> None:
    """The database's administrator ends every session of ours; Luigi's second attempt completes the run."""
    archive.source("shop", SMALL)
    run = next_run()
    role = f"backup_{archive.platform.database('shop')}"
    with archive.platform.connect("shop") as blocking, archive.platform.connect("shop") as ending:
        with blocking.cursor() as cursor:
            cursor.execute("BEGIN; LOCK TABLE item IN ACCESS EXCLUSIVE MODE")
            started = archive.start("shop", run)
            waiting = "SELECT pid FROM pg_stat_activity WHERE usename = %s AND wait_event_type = 'Lock'"
            wait_until(lambda: postgres.rows(ending, waiting, (role,)), "the dump waits for a table")
            postgres.rows(
                ending, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (role,)
            )
            cursor.execute("ROLLBACK")
        _, said = started.communicate(timeout=120)
    assert (started.returncode, "the connection was lost" in said) == (0, True)
    settled(archive, "shop", run)


@pytest.mark.endurance
def test_connections_to_b2_that_are_cut_do_not_even_fail_the_run(archive: Archive) -> None:
    archive.source("shop", INCOMPRESSIBLE)
    run = next_run()
    archive.control.clear()
    archive.control.fault("b2_upload_part", "reset", after_bytes=2**20, times=3)
    ended = archive.backup("shop", run)
    assert (ended.code, ended.errors) == (0, [])
    settled(archive, "shop", run)


@pytest.mark.endurance
def test_two_at_once_are_one(archive: Archive) -> None:
    """The second is told, and exits with 6."""
    archive.source("shop", SMALL)
    tools = watched_tools(archive)
    run = next_run()
    with dumping(archive) as reached:
        started = archive.start("shop", run, tools)
        wait_until(reached, "the first dumps")
        second = archive.backup("shop", next_run())
        assert second.code == 6
        (told,) = second.errors
        assert told.startswith(f"a backup of shop is already running: run {run}, since ")
        assert told.endswith(f" UTC on {process_tree.place()} (process {started.pid}); wait for it to end")
    assert started.wait(timeout=120) == 0
    settled(archive, "shop", run)


@pytest.mark.endurance
def test_what_an_earlier_run_left_in_the_clear_is_removed_by_the_next(archive: Archive) -> None:
    archive.source("shop", SMALL)
    tools = watched_tools(archive)
    killed, run = next_run(), next_run()
    with encrypting(archive) as reached:
        started = archive.start("shop", killed, tools)
        wait_until(reached, "it encrypts")
        for process in archive.ours():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        started.wait()
    assert (archive.work("shop", killed).dump).exists()
    assert archive.backup("shop", run, tools).code == 0
    assert plaintext(archive) == []
    assert archive.names() == whole("shop", run)


@pytest.mark.endurance
@pytest.mark.parametrize(
    ("damage", "code", "told"),
    [
        ("key", 2, "shop: DumpDatabase failed: recipient "),
        ("gpg", 3, "shop: EncryptDump failed: shop.dump could not be encrypted: gpg was killed by signal 9"),
        ("writer", 5, "shop: UploadBackup failed: bucket "),
    ],
)
def test_each_failure_is_named_with_its_step_and_what_to_type(
    archive: Archive, damage: str, code: int, told: str
) -> None:
    archive.source("shop", SMALL)
    run = next_run()
    tools: Path | None = None
    if damage == "key":
        archive.add_key("safe", expires="seconds=1")
        expired = archive.folder / "safe.asc"
        wait_until(lambda: b"expired" in _listed(expired), "the key expires")
    elif damage == "gpg":
        tools = script(
            archive.folder, "gpg", 'case "$*" in *--encrypt*) kill -9 $$;; esac\nexec /usr/bin/gpg "$@"'
        )
    else:
        writer = archive.platform.sandbox.vault.read(f"{archive.entries}b2/writer")
        assert writer is not None
        archive.control.delete_key(writer["key_id"])
    ended = archive.backup("shop", run, tools)
    assert ended.code == code
    assert ended.errors[-2].startswith(told), ended.errors
    assert ended.errors[-1] == f"  next: pipeline run backup shop --run {run}"
    assert [name for name in plaintext(archive) if not name.endswith(".gpg")] == []
    assert archive.run("backups").out.startswith("bucket ")


@pytest.mark.endurance
@pytest.mark.skipif(not may_mount(), reason="only root may mount a small disk")
def test_a_work_folder_without_any_room_is_told_as_that(archive: Archive) -> None:
    """Not even the locks can be signed, or a failure be written down."""
    archive.source("shop", SMALL)
    with small_disk(archive.folder, 64 * 1024) as disk:
        archive.write_settings(work_dir=str(disk))
        (disk / "other").write_bytes(bytes(64 * 1024))
        ended = archive.backup("shop", next_run())
    assert ended.code == 3
    assert f"{disk}/shop is full; make room there" in ended.errors[-2]
    assert "bytes are free, too few for gpg" in ended.err


def _listed(path: Path) -> bytes:
    return subprocess.run(
        ["/usr/bin/gpg", "--homedir", path.parent, "--no-autostart", "--show-keys", path],
        capture_output=True,
        check=False,
    ).stdout


@pytest.mark.endurance
def test_a_flipped_bit_in_the_bucket_is_no_backup(archive: Archive) -> None:
    """Found by reading back; the manifest is not written, and no command shows a backup."""
    archive.source("shop", SMALL)
    run = next_run()
    # So small a backup is read back before it can be stopped, were it not for this.
    with verifying(archive, bytes_per_second=200) as reached:
        started = archive.start("shop", run)
        wait_until(reached, "it reads back")
        started.send_signal(signal.SIGTERM)
        started.wait(timeout=60)
    archive.control.corrupt(archive.bucket_name, f"shop/{run}/shop.dump.gpg", offset=5)
    ended = archive.backup("shop", run)
    assert ended.code == 4
    assert (
        f"shop: VerifyBackup failed: bucket {archive.bucket_name}: shop/{run}/shop.dump.gpg"
        in ended.errors[0]
    )
    listed = archive.run("backups", "shop")
    assert "has no backup of shop" in listed.out
    assert f"shop {run}: has no manifest, so it is not a backup" in listed.out


@pytest.mark.endurance
def test_a_backup_that_was_changed_later_is_not_passed_for_one(archive: Archive) -> None:
    """The same command says so, and what to type: nothing is overwritten."""
    archive.source("shop", SMALL)
    run = next_run()
    assert archive.backup("shop", run).code == 0
    with archive.writing() as opened:
        opened.write_small(f"shop/{run}/globals.sql.gpg", b"x", content_type="text/plain", replace=True)
    ended = archive.backup("shop", run)
    assert ended.code == 4
    assert f"shop {run} differs from the verified backup" in ended.errors[0]
    assert ended.errors[1].startswith("  next: pipeline run backup shop --run ")
    assert "NO: changed since" in archive.run("backups", "shop").out


def test_an_unknown_database_is_told(archive: Archive) -> None:
    archive.source("shop", SMALL)
    ended = archive.backup("shopp", next_run())
    assert (ended.code, "did you mean shop?" in ended.errors[0]) == (2, True)


def work_files(archive: Archive) -> list[Path]:
    return [path for path in (archive.folder / "work").rglob("*") if path.is_file()]
