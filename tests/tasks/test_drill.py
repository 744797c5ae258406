"""`pipeline run drill`: databases are drilled through Luigi, and its end says whether all of them held."""

import signal
from pathlib import Path

import pytest

from pipeline.sandbox.servers import clusters
from tests.backup.test_restore import fake_pg_restore
from tests.support.archive import SMALL
from tests.support.hooks import Hook
from tests.support.night import wait_until
from tests.support.restores import Restores

pytestmark = pytest.mark.endurance

MONTH = "2026-11"


def test_all_databases_are_drilled_once_a_month_and_one_that_fails_does_not_stop_the_others(
    hook: Hook, restores: Restores
) -> None:
    for name in ("hr", "shop"):
        restores.source(name, SMALL)
        restores.back_up(name)
    contents = restores.archive.manifest("hr", "2026-11-22").contents
    wrong = [one.model_copy(update={"rows": 7}) for one in contents.tables]
    restores.change_manifest("hr", contents=contents.model_copy(update={"tables": tuple(wrong)}))
    failed = restores.archive.run("run", "drill", "--month", MONTH)
    assert failed.code == 4, failed.err
    told = "hr: the drill did not hold: hr 2026-11-22: tables: public.item has 1,000 rows instead of 7"
    assert told in failed.err
    assert "next: fix that, then pipeline run drill hr" in failed.err
    assert restores.report("shop", MONTH).held
    assert not restores.report("hr", MONTH).held
    (alert,) = hook.alerts()
    assert (alert.kind, alert.key, alert.run) == ("failed", "drill/hr", MONTH)
    assert "public.item has 1,000 rows instead of 7" in (alert.error or "")

    restores.change_manifest("hr", contents=contents)
    again = restores.archive.run("run", "drill", "--month", MONTH)
    assert again.code == 0, again.err
    # Only what did not hold was done again.
    assert f"[{MONTH} RestoreDrill hr]" in again.err
    assert f"[{MONTH} RestoreDrill shop]" not in again.err
    assert restores.report("hr", MONTH).held
    assert hook.received() == [("failed", "drill/hr"), ("recovered", "drill/hr")]

    third = restores.archive.run("run", "drill", "--month", MONTH)
    assert third.code == 0
    assert f"the drills of {MONTH} held already; nothing to do" in third.out
    assert restores.leftovers() == []
    assert restores.databases() == []


def test_each_failure_has_its_exit_code_and_one_drill_goes_at_a_time(restores: Restores) -> None:
    restores.source("shop", SMALL)
    unknown = restores.archive.run("run", "drill", "shops")
    assert unknown.code == 2
    assert "did you mean shop?" in unknown.err
    assert restores.archive.run("run", "drill", "--month", "yesterday").code == 2
    none = restores.archive.run("run", "drill", "shop")
    assert none.code == 3
    assert "the bucket has no verified backup of it" in none.err
    restores.back_up("shop")
    with restores.connect("postgres") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", (0x6472696C6C,))
        first = restores.start("run", "drill", "shop", "--month", MONTH)
        work = restores.archive.settings.require_backup().work_dir / ".drill"
        wait_until(lambda: "waiting for another drill" in text(work / "status.json"), "it waits")
        second = restores.archive.run("run", "drill", "shop", "--month", MONTH)
        assert second.code == 6
        assert "a drill is already running" in second.err
    _, said = first.communicate(timeout=120)
    assert first.returncode == 0, said
    restores.archive.control.remove_bucket(restores.archive.bucket_name)
    gone = restores.archive.run("run", "drill", "shop", "--month", "2026-12")
    assert gone.code == 5
    assert "there is no such bucket" in gone.err
    restores.archive.control.create_bucket(restores.archive.bucket_name)  # for who tidies up


def test_a_drill_that_is_stopped_leaves_nothing_and_the_next_one_is_whole(restores: Restores) -> None:
    restores.source("shop", SMALL)
    restores.back_up("shop")
    held = restores.archive.folder / "held"
    fake_pg_restore(restores, f"touch {held}; sleep 600")
    drilling = restores.start("run", "drill", "shop", "--month", MONTH)
    wait_until(held.exists, "pg_restore has begun")
    assert restores.databases() == ["drill_shop"]
    drilling.send_signal(signal.SIGTERM)
    _, said = drilling.communicate(timeout=60)
    assert drilling.returncode == 143, said
    wait_until(lambda: not restores.archive.ours(), "all of it has ended")
    assert restores.databases() == []
    assert restores.roles() == set()
    assert restores.leftovers() == []
    assert f"shop/2026-11-22/drill-{MONTH}.json" not in {name for _, name in restores.archive.names()}
    restores.archive.write_settings(postgres_bin=str(clusters.BINARIES))
    again = restores.archive.run("run", "drill", "shop", "--month", MONTH)
    assert again.code == 0, again.err


def text(path: Path) -> str:
    """Return what is in a file, nothing where there is none yet."""
    return path.read_text() if path.exists() else ""
