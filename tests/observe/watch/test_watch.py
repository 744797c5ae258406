"""Watch on a real ledger and a real bucket: what it sees there, what it tells, and what it must not need."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline import access, alerts, catalog, chains
from pipeline.alerts import Alert, Kind
from pipeline.backup.drills.attempt import DrillWork
from pipeline.backup.drills.report import Origin
from pipeline.backup.store.manifest import dump_name, globals_name, manifest_name
from pipeline.bucket import KEPT, Bucket
from pipeline.errors import AlreadyRunningError
from pipeline.observe import overview, watch
from pipeline.programs import run as programs
from pipeline.retry import RetryPolicy
from pipeline.sandbox.b2.process import running
from pipeline.sandbox.ports import ADDRESS
from pipeline.sandbox.servers import backup_store
from pipeline.sandbox.servers.vault_server import administrator
from pipeline.settings import Settings
from pipeline.system import beside
from tests.cli.test_status import on_a_terminal
from tests.observe.watch.receiver import Receiver, receiving
from tests.support.archive import Archive
from tests.support.night import COMMAND_SECONDS, Night, program

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
SHOP = """
    CREATE TABLE item (id int PRIMARY KEY, name text);
    INSERT INTO item SELECT n, 'item' FROM generate_series(1, 10) AS n;
    CREATE TABLE sale (id int PRIMARY KEY);
"""
DECLARATION = "source: shop\ntables: {item: {}, sale: {}}\n"


@pytest.fixture
def receiver(archive: Archive) -> Iterator[Receiver]:
    """Who is told of this test's alerts, and gets its heartbeats."""
    vault = administrator(archive.platform.sandbox.home)
    entry = f"{archive.entries}alerts"
    with receiving(archive.folder) as made:
        vault.write(entry, {"url": made.url, "hmac_key": "a-key", "heartbeat_url": made.heartbeat_url})
        archive.write_sections(alerts={"secret": entry, "spool": "spool"})
        yield made
    vault.remove(entry)


@pytest.fixture
def archive(archive: Archive) -> Archive:
    """An archive in which nothing is signed: what these tests put there, they say themselves what it is."""
    archive.write_settings(signers="")
    return archive


def a_night(night: Night, archive: Archive, now: datetime) -> None:
    """Load everything and back everything up, as of `now`."""
    archive.source("shop", SHOP)
    night.platform.declare("shop", DECLARATION)
    began(night, "2026-01-01")
    night.load("shop", "item")
    night.load("shop", "sale")
    with archive.writing() as bucket:
        put(bucket, "shop", now)


def began(night: Night, run: str, state: str = "done", *, in_days: int = 0) -> None:
    """Write a run into the ledger, which no living process holds."""
    night.ask(
        "warehouse",
        """
        INSERT INTO ops.run (run, name, state, started_at, attempted_at, finished_at, host, pid)
        VALUES (%s, 'etl', %s, now() + %s, now() + %s, now(), 'node1', 4711)
        """,
        (run, state, timedelta(days=in_days), timedelta(days=in_days)),
    )


def put(bucket: Bucket, database: str, taken_at: datetime, size_bytes: int = 1000) -> str:
    """Upload what VerifyBackup leaves of a backup, as far as lists go by it, and return its run."""
    run = f"{taken_at:%Y-%m-%dT%H%M}"
    dump = bucket.write_small(dump_name(database, run), b"d" * size_bytes, content_type="x")
    roles = bucket.write_small(globals_name(database, run), b"g", content_type="x")
    info = {
        "taken-at": taken_at.isoformat(),
        "verified-at": taken_at.isoformat(),
        "dump-sha256": dump.sha256 or "",
        "globals-sha256": roles.sha256 or "",
    }
    bucket.write_small(manifest_name(database, run), b"{}", content_type="x", info=info)
    return run


def told(settings: Settings, now: datetime) -> dict[str, watch.Finding]:
    """Return what would be told at `now`, by key."""
    found = watch.judge(settings, watch.observe(settings, now), now)
    return {one.key: one for one in found if one.is_alert}


def test_a_good_night_and_days_without_any(night: Night, archive: Archive) -> None:
    now = datetime.now(UTC)
    a_night(night, archive, now)
    settings = archive.settings
    found = watch.judge(settings, watch.observe(settings, now), now)
    assert [one.text for one in found if one.severity != "ok"] == []
    keys = {one.key for one in found}
    assert {
        "watch/reach/Vault",
        "watch/reach/the warehouse",
        f"watch/reach/bucket {archive.bucket_name}",
        "watch/run/etl",
        "watch/source/shop",
        "watch/table/shop.item",
        "watch/backup/shop",
        "watch/changed/shop",
        "watch/key/school.asc",
        "watch/going/etl",
        "watch/rules",
    } <= keys
    later = told(settings, now + 3 * DAY)
    assert later.keys() == {"watch/run/etl", "watch/backup/shop"}
    # Runs begin again, and a table is in none of them.
    began(night, "2026-01-04", "failed", in_days=3)
    night.ask(
        "warehouse",
        "UPDATE ops.watermark SET snapshot_at = now() + interval '3 days' WHERE table_name = 'item'",
    )
    fails = (
        "INSERT INTO ops.step (run, task, name, state, started_at, finished_at, host, pid, error)"
        " VALUES (%s, 'ExtractTable', 'shop.sale', 'failed', now() + %s, now() + %s, 'node1', 1, 'no luck')"
    )
    for days in (1, 2):
        night.ask("warehouse", fails, (f"2026-01-0{days}", days * DAY, days * DAY))
    late = told(settings, now + 3 * DAY)["watch/table/shop.sale"]
    assert late.error is not None
    assert late.error.startswith("ExtractTable failed in 2 runs since")
    assert late.error.endswith("no luck")


def test_status_calls_stale_what_watch_calls_too_old(night: Night, archive: Archive) -> None:
    archive.source("shop", SHOP)
    night.platform.declare("shop", DECLARATION)
    began(night, "2026-01-01", in_days=-2)

    def state() -> str:
        with access.opened(archive.settings) as databases, databases.warehouse() as warehouse:
            return overview.summarize(databases, warehouse, None).load_state

    assert "watch/run/etl" in told(archive.settings, datetime.now(UTC))
    assert state() == "stale"
    archive.write_sections(**{"source.shop": {"table_hours": "170"}})
    assert "watch/run/etl" not in told(archive.settings, datetime.now(UTC))
    assert state() == "ok"


def test_the_bucket_itself_is_looked_at(night: Night, archive: Archive) -> None:
    now = datetime.now(UTC)
    a_night(night, archive, now)
    with archive.writing() as bucket:
        for days in range(8, 0, -1):
            put(bucket, "shop", now - days * DAY, size_bytes=100_000)
        put(bucket, "old", now - 9 * DAY)
        name = f"old/{now - 9 * DAY:%Y-%m-%dT%H%M}/drill-2026-11.json"
        ended = {"month": "2026-11", "grade": "A", "finished-at": now.isoformat()}
        bucket.write_small(name, b"{}", content_type="x", info=ended)
        # What pgBackRest has was drilled as well, later, and that did not hold.
        later = {**ended, "grade": "F", "finished-at": (now + HOUR).isoformat()}
        bucket.write_small(name.replace("/drill-", "/pgbackrest-"), b"{}", content_type="x", info=later)
        assert told(archive.settings, now).keys() == {"watch/size/shop"}
        # Whoever has the key that writes can put another object in its place.
        yesterday = dump_name("shop", f"{now - DAY:%Y-%m-%dT%H%M}")
        bucket.write_small(yesterday, b"another", content_type="x", replace=True)
    found = told(archive.settings, now)
    assert found.keys() == {"watch/size/shop", "watch/changed/shop"}
    observations = watch.observe(archive.settings, now)
    assert observations.bucket is not None
    assert observations.bucket.drills[chains.DRILL_TASK]["old"].held_at == now
    theirs = observations.bucket.drills[chains.ARCHIVE_DRILL_TASK]["old"]
    assert (theirs.grade, theirs.held_at) == ("F", None)
    infos = [one.key for one in watch.judge(archive.settings, observations, now) if one.severity == "info"]
    assert infos == ["watch/undeclared/old"]


def test_backups_that_somebody_hides_are_missed_until_they_are_back(night: Night, archive: Archive) -> None:
    """Whole, they were not in the list at all: 'all 1 are as they were verified', whatever was gone."""
    now = datetime.now(UTC)
    a_night(night, archive, now)
    with archive.writing() as bucket:
        runs = [put(bucket, "shop", now - days * DAY) for days in (3, 2, 1)]
        assert told(archive.settings, now) == {}
        # With the key that writes, whole ones and one of which its manifest alone goes.
        for name in (dump_name, globals_name, manifest_name):
            bucket.hide(name("shop", runs[0]))
        bucket.hide(manifest_name("shop", runs[1]))
        # An object that is hidden is not the manifest: that backup differs from the verified one.
        bucket.hide(dump_name("shop", runs[2]))
    found = told(archive.settings, now)
    assert found.keys() == {"watch/changed/shop"}
    summary = found["watch/changed/shop"].summary
    assert f"1 of 2 differ from the verified ones; the newest, run {runs[2]}" in summary
    assert f"; 2 hidden, the newest, run {runs[1]}, at {now:%Y-%m-%d}" in summary
    with archive.writing() as bucket:
        for days in (3, 2, 1):
            put(bucket, "shop", now - days * DAY)
    assert told(archive.settings, now) == {}


def test_a_copy_that_is_to_be_kept_is_missed_and_one_that_a_newer_one_superseded_is_not(
    night: Night, archive: Archive
) -> None:
    """Beyond their age copies are all that there is; once their lock has ended they are gone in a day."""
    now = datetime.now(UTC)
    a_night(night, archive, now)
    archive.write_settings(keep_last="1", keep_months="0")
    newest = f"{now:%Y-%m-%dT%H%M}"
    with archive.writing() as bucket:
        older = put(bucket, "shop", now - DAY)
        for run in (older, newest):
            for name in (globals_name, dump_name, manifest_name):
                stored = bucket.find(name("shop", run))
                assert stored is not None
                bucket.copy(stored, KEPT + stored.name)
        # As a backup lets go of it.
        bucket.hide(KEPT + manifest_name("shop", older))
        assert told(archive.settings, now) == {}
        bucket.hide(KEPT + manifest_name("shop", newest))
    found = told(archive.settings, now)
    assert found.keys() == {"watch/changed/shop"}
    assert f"backup of shop: 1 hidden, the newest, run {newest}, at" in found["watch/changed/shop"].summary


def test_the_catalog_is_read_once_so_that_all_that_is_judged_is_of_one_version(
    night: Night, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync may put another version in its place meanwhile. For `*` the warehouse is asked too."""
    archive.source("shop", SHOP)
    night.platform.declare("shop", 'source: shop\ntables: "*"\n')
    read, asked = catalog.read, list[Path]()

    def reading(folder: Path) -> catalog.Catalog:
        asked.append(folder)
        return read(folder)

    monkeypatch.setattr(catalog, "read", reading)
    seen = watch.observe(archive.settings, datetime.now(UTC))
    assert seen.ledger is not None
    assert seen.declared == {"shop": {}}
    assert len(asked) == 1


def test_while_the_warehouse_is_away_no_table_that_a_star_brings_is_taken_for_gone(
    night: Night, archive: Archive, receiver: Receiver
) -> None:
    """The warehouse alone knows them: that one failed was told to be over, for it was no longer declared."""
    archive.source("shop", SHOP)
    night.platform.declare("shop", 'source: shop\ntables: "*"\n')
    alerts.keep(
        archive.settings, Alert(key="etl/shop.item", kind=Kind.FAILED, summary="it failed", task="LoadTable")
    )
    role = f"{archive.platform.prefix}_pipeline"
    night.ask("warehouse", f'ALTER ROLE "{role}" NOLOGIN')
    try:
        watch.watch(archive.settings, datetime.now(UTC))
    finally:
        night.ask("warehouse", f'ALTER ROLE "{role}" LOGIN')
    assert ("failed", "watch/reach/the warehouse") in receiver.received
    assert "recovered" not in {kind for kind, _ in receiver.received}
    assert "etl/shop.item" in {one.key for one in alerts.open_alerts(archive.settings)}


@pytest.mark.endurance
def test_what_the_bucket_has_removed_is_no_longer_there(night: Night, archive: Archive) -> None:
    """With a bucket whose clock moves: its rules hide what is a month old, and one part before the other."""
    now = datetime.now(UTC)
    a_night(night, archive, now)
    vault = administrator(archive.platform.sandbox.home)
    with running(archive.folder / "own-b2") as control:
        control.create_bucket(archive.bucket_name)
        for entry in (backup_store.WRITER, backup_store.VERIFIER, backup_store.AUDITOR, backup_store.ADMIN):
            made = control.create_key("k", backup_store.KEYS[entry], bucket=archive.bucket_name)
            keys = {"key_id": made.key_id, "application_key": made.application_key}
            vault.write(archive.entries + entry, keys)
        archive.write_settings(realm=control.url, lock_days="0")
        settings = archive.settings
        assert (
            "its lifecycle rules do not keep backups for 30 days" in told(settings, now)["watch/rules"].text
        )
        admin = archive.entries + backup_store.ADMIN
        with access.opened(settings) as databases, databases.bucket(admin) as bucket:
            bucket.apply(keep_days=30, lock_days=None)
        assert "has none that is verified" in told(settings, now)["watch/backup/shop"].summary
        with archive.writing() as bucket:
            put(bucket, "shop", now)
        assert told(settings, now) == {}
        control.advance(days=29)
        late = told(settings, now + 29 * DAY)
        assert "29 days 0 h ago" in late["watch/backup/shop"].summary
        control.advance(days=1)
        late = told(settings, now + 30 * DAY)
        assert "has none that is verified" in late["watch/backup/shop"].summary
        assert "watch/changed/shop" not in late


def test_it_reads_and_nothing_else_and_needs_no_key_that_may_more(night: Night, archive: Archive) -> None:
    now = datetime.now(UTC)
    a_night(night, archive, now)
    vault = administrator(archive.platform.sandbox.home)
    for entry in (backup_store.WRITER, backup_store.ADMIN, backup_store.RESTORER):
        vault.remove(archive.entries + entry)
    archive.control.clear()
    assert told(archive.settings, now) == {}
    calls = [call["call"] for call in archive.control.calls()]
    assert set(calls) <= {"b2_authorize_account", "b2_list_file_versions", "b2_list_buckets"}
    assert len(calls) <= 5


@pytest.mark.endurance
def test_what_is_out_of_reach_hides_nothing(night: Night, archive: Archive) -> None:
    now = datetime.now(UTC)
    a_night(night, archive, now)
    later = now + 3 * DAY
    role = f"{archive.platform.prefix}_pipeline"
    night.ask("warehouse", f'ALTER ROLE "{role}" NOLOGIN')
    found = told(archive.settings, later)
    assert found.keys() == {"watch/reach/the warehouse", "watch/backup/shop"}
    assert found["watch/reach/the warehouse"].severity == "unreachable"
    night.ask("warehouse", f'ALTER ROLE "{role}" LOGIN')

    administrator(archive.platform.sandbox.home).remove(archive.entries + backup_store.VERIFIER)
    found = told(archive.settings, later)
    assert found.keys() == {f"watch/reach/bucket {archive.bucket_name}", "watch/run/etl"}

    archive.write_sections(vault={"url": "http://127.0.0.1:1"})
    archive.platform.declare("shop", "source: shop\ntables: {item: {colour: blue}}\n")
    archive.add_key("safe", expires="20d")
    found = told(archive.settings, now)
    assert found.keys() == {"watch/reach/Vault", "watch/reach/the catalog", "watch/key/safe.asc"}


def test_each_thing_is_told_once_and_once_that_it_is_over(
    night: Night, archive: Archive, receiver: Receiver
) -> None:
    now = datetime.now(UTC)
    a_night(night, archive, now)
    settings = archive.settings
    later = now + 3 * DAY
    for _ in range(2):
        watch.watch(settings, later)
    late = [("stale", "watch/run/etl"), ("stale", "watch/backup/shop")]
    assert receiver.received == late
    alert = receiver.alerts[1]
    assert alert["command"] == "pipeline run backup shop"
    assert "3 days 0 h ago; the limit is 26 h" in alert["summary"]
    assert alert["since"].startswith(f"{now + 26 * HOUR:%Y-%m-%dT%H:%M}")
    # Nobody can tell whether it is over.
    watch.watch(settings.model_copy(update={"backup": None, "warehouse": None}), now)
    assert receiver.received == late
    for _ in range(2):
        watch.watch(settings, now)
    assert receiver.received == [*late, ("recovered", "watch/run/etl"), ("recovered", "watch/backup/shop")]
    beat = "/beat/one-long-secret-name"
    # What was told stays open until somebody can tell that it is over.
    assert receiver.beats == [f"{beat}/fail"] * 3 + [beat, beat]


def test_tasks_that_nobody_runs_are_told_and_status_calls_them_too_old(
    night: Night, archive: Archive, receiver: Receiver
) -> None:
    """Their line in the crontab is gone: the tables that they write grow old, and none of them fails."""
    now = datetime.now(UTC)
    a_night(night, archive, now)
    settings, file = archive.settings, archive.platform.analysts / "tasks" / "report.py"
    file.parent.mkdir()
    file.write_text("")
    os.utime(file, ((now - 9 * DAY).timestamp(),) * 2)

    def late() -> list[str]:
        with access.opened(settings) as databases, databases.warehouse() as warehouse:
            return [one.file for one in overview.summarize(databases, warehouse, None).stale_programs]

    watch.watch(settings, now)
    assert (receiver.received, late()) == ([], [])
    record = programs.records(settings) / "2026-01-01" / "report.json"
    beside.write(record, {"ok": True, "at": "2026-01-01T04:31:00+00:00", "seconds": 1.0})
    os.utime(record, ((now - 3 * DAY).timestamp(),) * 2)
    for _ in range(2):
        watch.watch(settings, now)
    assert receiver.received == [("stale", "watch/analysts/report")]
    assert receiver.alerts[0]["command"] == "pipeline run analysts report"
    assert late() == ["tasks/report.py"]
    shown = archive.run("status").out
    assert "1 file of tasks is too old" in shown.splitlines()[0]
    assert "too old: tasks/report.py\n  next: pipeline run analysts\n" in shown
    (one,) = json.loads(archive.run("status", "--json").out)["programs"]
    assert (one["file"], one["state"]) == ("tasks/report.py", "stale")
    os.utime(record)
    watch.watch(settings, now)
    assert (receiver.received[1:], late()) == ([("recovered", "watch/analysts/report")], [])
    assert [Path(beat).name == "fail" for beat in receiver.beats] == [False, True, True, False]


def test_tasks_that_are_killed_with_their_machine_are_told(
    night: Night, archive: Archive, receiver: Receiver
) -> None:
    now = datetime.now(UTC)
    a_night(night, archive, now)
    settings, file = archive.settings, archive.platform.analysts / "tasks" / "report.py"
    file.parent.mkdir()
    file.write_text("")
    ended = subprocess.Popen(["/bin/true"])
    ended.wait()
    record = programs.records(settings) / "2026-01-01" / "report.json"
    beside.write(record, {"pid": ended.pid, "ok": False, "error": programs.KILLED, "exit_code": 3})
    for _ in range(2):
        watch.watch(settings, now)
    assert receiver.received == [("failed", "run/analysts")]
    assert receiver.alerts[0]["command"] == "pipeline run analysts --run 2026-01-01"
    assert "at tasks/report.py, was killed" in receiver.alerts[0]["summary"]


@pytest.mark.endurance
def test_what_is_no_longer_declared_is_told_to_be_over(
    night: Night, archive: Archive, receiver: Receiver
) -> None:
    """Nobody will judge it again, and it would be an open alert for ever."""
    now = datetime.now(UTC)
    a_night(night, archive, now)
    watch.watch(archive.settings, now + 3 * DAY)
    rest = archive.settings.model_copy(update={"databases": {}})
    watch.watch(rest, now + 3 * DAY)
    assert receiver.received[-1] == ("recovered", "watch/backup/shop")


@pytest.mark.endurance
def test_a_heartbeat_that_nobody_wants_any_more_is_told_to_be_over(
    night: Night, archive: Archive, receiver: Receiver
) -> None:
    a_night(night, archive, datetime.now(UTC))
    vault, entry = administrator(archive.platform.sandbox.home), f"{archive.entries}alerts"
    vault.write(entry, {"url": receiver.url, "hmac_key": "a-key", "heartbeat_url": "http://127.0.0.1:1/beat"})
    watch.watch(archive.settings, datetime.now(UTC))
    assert receiver.received == [("failed", "watch/heartbeat")]
    vault.write(entry, {"url": receiver.url, "hmac_key": "a-key"})
    watch.watch(archive.settings, datetime.now(UTC))
    assert receiver.received == [("failed", "watch/heartbeat"), ("recovered", "watch/heartbeat")]


def test_alerts_that_could_not_be_sent_are_sent_first_and_once(night: Night, archive: Archive) -> None:
    now = datetime.now(UTC)
    a_night(night, archive, now)
    vault = administrator(archive.platform.sandbox.home)
    entry = f"{archive.entries}alerts"
    archive.write_sections(alerts={"secret": entry, "spool": "spool"})
    with receiving(archive.folder) as made:
        vault.write(entry, {"url": made.url, "hmac_key": "a-key"})
    later = now + 3 * DAY
    found = {one.key: one for one in watch.watch(archive.settings, later)}
    assert found["watch/spool"].severity == "unreachable"
    assert "alerts not sent: 2," in found["watch/spool"].summary
    with receiving(archive.folder, made.port) as made:
        found = {one.key: one for one in watch.watch(archive.settings, later)}
        watch.watch(archive.settings, later)
    assert found["watch/spool"].severity == "ok"
    assert made.received == [
        ("stale", "watch/run/etl"),
        ("stale", "watch/backup/shop"),
        ("failed", "watch/spool"),
        ("recovered", "watch/spool"),
    ]
    vault.remove(entry)


@pytest.mark.endurance
def test_with_vault_out_of_reach_nobody_can_be_told_until_it_is_back(
    night: Night, archive: Archive, receiver: Receiver
) -> None:
    """The address of the webhook is there as well; and who waits for the heartbeat gets none."""
    now = datetime.now(UTC)
    a_night(night, archive, now)
    settings = archive.settings
    away = settings.vault.model_copy(update={"url": "http://127.0.0.1:1"})
    found = {one.key: one for one in watch.watch(settings.model_copy(update={"vault": away}), now)}
    assert {key for key, one in found.items() if one.is_alert} == {"watch/reach/Vault", "watch/spool"}
    assert (receiver.received, receiver.beats) == ([], [])
    watch.watch(settings, now)
    assert receiver.received == [
        ("failed", "watch/reach/Vault"),
        ("failed", "watch/spool"),
        ("recovered", "watch/reach/Vault"),
        ("recovered", "watch/spool"),
    ]
    assert receiver.beats == ["/beat/one-long-secret-name"]


@pytest.mark.endurance
def test_the_command(night: Night, archive: Archive, receiver: Receiver) -> None:
    now = datetime.now(UTC)
    a_night(night, archive, now)
    well = archive.run("watch")
    assert (well.code, well.err) == (0, "")
    assert well.out.splitlines()[-1].endswith(" ok")
    assert len(well.out.splitlines()) == 1, "nothing to say"

    began(night, "2026-01-02", "running")
    dead = archive.run("watch", "--json")
    assert dead.code == 4
    data = json.loads(dead.out)
    assert data["state"] == "findings"
    (first, *others) = data["findings"]
    assert (first["key"], first["severity"]) == ("run/etl", "failed")
    assert first["next"] == "pipeline run etl --run 2026-01-02"
    assert {one["severity"] for one in others} == {"ok"}

    role = f"{archive.platform.prefix}_pipeline"
    night.ask("warehouse", f'ALTER ROLE "{role}" NOLOGIN')
    lines = on_a_terminal(night, "watch", code=5)
    # Those of the log begin with the time.
    shown = [line for line in lines if not line[:4].isdecimal()]
    assert max(map(len, shown)) <= 80
    assert any(line.startswith("out of reach: the warehouse: could not be observed") for line in shown)
    assert "  next: pipeline check" in shown
    assert receiver.received == [("failed", "run/etl"), ("failed", "watch/reach/the warehouse")]
    everything = well.out + dead.out + "".join(shown) + str(receiver.alerts)
    assert "one-long-secret-name" not in everything


def test_b2_is_not_waited_for(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes connections and says nothing is out of reach, and soon."""
    module = sys.modules["pipeline.observe.observed.observe"]
    monkeypatch.setattr(module, "ASKED", RetryPolicy(give_up_after_seconds=0.2, answer_seconds=0.2))
    with socket.create_server((ADDRESS, 0)) as silent:
        archive.write_settings(realm=f"http://{ADDRESS}:{silent.getsockname()[1]}")
        found = told(archive.settings, datetime.now(UTC))
    assert "no answer within 0.2 s" in found[f"watch/reach/bucket {archive.bucket_name}"].text


@pytest.mark.endurance
def test_told_to_stop_while_b2_does_not_answer(archive: Archive) -> None:
    """It ends as every command does, and tells nobody that B2 is out of reach."""
    with socket.create_server((ADDRESS, 0)) as silent:
        archive.write_settings(realm=f"http://{ADDRESS}:{silent.getsockname()[1]}")
        archive.write_sections(alerts={"spool": "spool"})
        silent.settimeout(COMMAND_SECONDS)
        started = subprocess.Popen(
            [program("pipeline"), "watch"], env=archive.environment(None), stdout=subprocess.PIPE, text=True
        )
        try:
            with silent.accept()[0]:
                started.terminate()
                out, _ = started.communicate(timeout=COMMAND_SECONDS)
        finally:
            started.kill()
            started.wait()
    assert (started.returncode, out) == (143, "")
    assert not (archive.folder / "spool").exists()


def test_backups_at_work_on_this_machine_are_seen(archive: Archive) -> None:
    now = datetime.now(UTC)
    archive.source("shop", SHOP)
    settings = archive.settings
    folder = archive.work("shop", "2026-11-24")
    with folder.running():
        observations = watch.observe(settings, now)
        assert observations.work is not None
        (work,) = observations.work
        assert (work.name, work.run, work.alive) == ("backup shop", "2026-11-24", True)
        folder.write_progress("UploadBackup", 40, "3 of 8 parts sent")
        assert "shop: UploadBackup of 2026-11-24: 3 of 8 parts sent\n" in archive.run("status").out
        lock = folder.home / "run.lock"
        signed = json.loads(lock.read_text())
        # A process that cannot be seen from here, as in another container, holds the lock all the same.
        lock.write_text(json.dumps({**signed, "pid": 2**22 + 1}))
        assert [one.alive for one in watch.observe(settings, now).work or ()] == [True]
    dead = told(settings, now)["backup/shop"]
    assert "was killed" in dead.summary
    assert dead.command == "pipeline run backup shop --run 2026-11-24"
    folder.remove()
    assert watch.observe(settings, now).work == ()


def test_a_drill_of_what_pgbackrest_has_goes_on_beside_one_of_our_backup_and_is_told_apart(
    archive: Archive,
) -> None:
    """Neither keeps the other from being begun, and of one that was killed its own command is told."""
    now = datetime.now(UTC)
    archive.source("shop", SHOP)
    archive.write_sections(
        **{
            "database.shop": {"pgbackrest": "main"},
            "restore": {"secret": "restore/b2", "key_secret": "restore/key"},
        }
    )
    ours, theirs = (DrillWork(archive.settings, "shop", "2026-11", origin) for origin in Origin)
    with ours.running(), theirs.running():
        seen = watch.observe(archive.settings, now).work or ()
        assert {(work.name, work.run, work.alive) for work in seen} == {
            ("drill", "2026-11", True),
            ("archive-drill", "2026-11", True),
        }
        with pytest.raises(AlreadyRunningError, match="a drill of what pgBackRest has is already running"):
            theirs.running().__enter__()
    ours.remove()
    # Who held it is gone.
    lock = theirs.home / "archive.lock"
    lock.write_text(json.dumps({**json.loads(lock.read_text()), "pid": 2**22 + 1}))
    found = told(archive.settings, now)
    assert "run/drill" not in found
    dead = found["run/archive-drill"]
    assert "archive-drill: run 2026-11, " in dead.summary
    assert dead.command == "pipeline run drill --month 2026-11 --from pgbackrest"
