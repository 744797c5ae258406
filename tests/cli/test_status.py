"""`pipeline status`: what ran, what failed and what to type, for a person and for a machine."""

import contextlib
import json
import os
import pty
import re
import subprocess

import pytest

from pipeline.errors import StepError
from pipeline.system import process_tree
from tests.support.archive import SMALL, Archive
from tests.support.night import Night, next_run, program

SHOP = """
    CREATE TABLE item (id int PRIMARY KEY, name text);
    INSERT INTO item SELECT n, 'item' FROM generate_series(1, 1200) AS n;
    CREATE TABLE broken (id int PRIMARY KEY);
"""
DECLARATION = "source: shop\ntables: {item: {}, broken: {checks: [{rows: {min: 1}}]}}\n"


@pytest.mark.endurance
def test_a_failed_run_as_a_person_and_as_a_machine_see_it(night: Night) -> None:
    night.platform.source("shop", SHOP, DECLARATION)
    assert "nothing has run yet; type 'pipeline run etl'" in night.run("status").out
    nothing = json.loads(night.run("status", "--json").out)
    assert (nothing["run"], nothing["steps"]) == (None, [])
    # In time still, for they were declared a moment ago; and not loaded.
    loaded = [(table["table"], table["rows"], table["fresh_as_of"]) for table in nothing["tables"]]
    assert loaded == [("shop.broken", None, None), ("shop.item", None, None)]

    run = next_run()
    ended = night.etl(run)
    assert ended.code == 4, "a check did not hold"

    told = json.loads(night.run("status", "--json").out)
    assert {"run", "state", "steps", "tables", "backups"} <= told.keys()
    assert (told["run"], told["state"]) == (run, "failed")
    by_name = {(step["task"], step["name"]): step for step in told["steps"]}
    fine, failed = by_name["LoadTable", "shop.item"], by_name["ValidateExtract", "shop.broken"]
    assert {"task", "name", "state", "started_at", "seconds", "rows", "error", "next"} <= fine.keys()
    assert (fine["state"], fine["rows"], fine["error"], fine["next"]) == ("done", 1200, None, None)
    assert failed["state"] == "failed"
    assert "rows" in failed["error"]
    assert failed["next"] == f"pipeline rerun --run {run} --from extract shop.broken"
    assert [(table["table"], table["rows"]) for table in told["tables"]] == [
        ("shop.broken", None),
        ("shop.item", 1200),
    ]
    assert ("LoadTable", "shop.broken") not in by_name

    shown = on_a_terminal(night, "status", code=3)
    # Sentences go on in the next line; the table has to fit.
    assert max(len(line) for line in shown if line.startswith(("table ", "shop.item "))) <= 80
    assert any(line.split()[:2] == ["shop.item", "1,200"] for line in shown)
    text = " ".join(" ".join(shown).split())
    assert f"etl {run} failed" in text
    assert "shop.broken: ValidateExtract failed" in text
    assert failed["next"] in text

    assert f"run {next_run()} is not known"[:4] in night.run("status", "--run", "2020-01-01").out


def test_a_run_that_others_made_whole_is_not_told_as_failed_and_one_that_lacks_a_table_is(
    night: Night,
) -> None:
    """As after "Re-enable" in the visualizer: a worker did what was left, and the run itself had ended."""
    night.platform.source("shop", SHOP, DECLARATION.replace("{checks: [{rows: {min: 1}}]}", "{}"))
    run = next_run()
    with night.snapshot("shop", run):
        night.extract("shop", run, "item", "broken")
    night.publish("shop", run, "item")
    night.ask(
        "warehouse",
        "INSERT INTO ops.run"
        " (run, name, state, started_at, attempted_at, finished_at, attempts, host, pid, error)"
        " VALUES (%s, 'etl', 'failed', now(), now(), now(), 1, 'host', 1, '1 of its steps failed')",
        (run,),
    )
    lacking = night.run("status", "--run", run)
    assert (lacking.code, "1 of its steps failed" in lacking.out) == (3, True), lacking.out
    night.publish("shop", run, "broken")
    whole = night.run("status", "--run", run)
    assert (whole.code, "failed" in whole.out) == (0, False), whole.out


def on_a_terminal(night: Night, *arguments: str, code: int = 0) -> list[str]:
    """Run the command on a terminal of 80 columns; return the lines that it shows, without colours."""
    ours, its = pty.openpty()
    environment = {**night.platform.env, "COLUMNS": "80", "LINES": "24", "TERM": "dumb"}
    started = subprocess.Popen(
        [program("pipeline"), *arguments], stdout=its, stderr=its, stdin=its, env=environment
    )
    os.close(its)
    output = b""
    while True:
        try:
            output += os.read(ours, 65536)
        except OSError:  # a terminal that nobody writes to any more
            break
    os.close(ours)
    assert started.wait(60) == code
    return output.decode().replace("\r", "").splitlines()


def test_rows_that_were_set_aside_are_told(night: Night) -> None:
    """A load that set all of its rows aside is not one that changed nothing."""
    columns = "{amount: {range: {min: 0, quarantine: rows}}}"
    night.platform.source(
        "shop",
        "CREATE TABLE item (id int PRIMARY KEY, amount int);"
        "INSERT INTO item SELECT n, -1 FROM generate_series(1, 1200) AS n;",
        f"source: shop\ntables: {{item: {{columns: {columns}}}}}\n",
    )
    run = next_run()
    assert str(night.load("shop", "item", run)) == "nothing changed, 1,200 quarantined, 0 rows"
    night.ask(
        "warehouse",
        "INSERT INTO ops.run (run, name, state, host, pid) VALUES (%s, 'etl', 'done', 'here', 1)",
        (run,),
    )
    told = night.run("status").out
    assert f"run {run}: 1 table, 0 rows, 1,200 quarantined" in told
    assert "shop.item: 1,200 rows failed a check and are in the schema quarantine" in told


def test_the_newest_backup_of_each_database_is_told_to_machines(night: Night) -> None:
    for run, hours in (("2030-01-01", 30), ("2030-01-02", 6)):
        night.ask(
            "warehouse",
            """
            INSERT INTO ops.backup (database, run, taken_at, verified_at, method, size_bytes, database_bytes,
                                    tables, rows, seconds, warnings)
            VALUES ('hr', %s, now() - make_interval(hours => %s), now(), 'all', 1000, 5000, 1, 1, 1, '[]')
            """,
            (run, hours),
        )
    (told,) = json.loads(night.run("status", "--json").out)["backups"]
    assert told.pop("age_hours") == pytest.approx(6, abs=0.2)
    assert told == {
        "database": "hr",
        "run": "2030-01-02",
        "verified": True,
        "size_bytes": 1000,
        "warnings": [],
        "state": "ok",
    }


def test_what_was_killed_is_told_though_it_says_running(night: Night) -> None:
    """Of a run and of its steps: the process is gone, and so is what it was doing."""
    night.platform.source("shop", SHOP, DECLARATION)
    run = next_run()
    gone = subprocess.Popen(["/bin/true"])
    gone.wait()
    insert = "INSERT INTO ops.{} ({}, state, host, pid) VALUES ({}, 'running', %s, %s)"
    place = (process_tree.place(), gone.pid)
    night.ask("warehouse", insert.format("run", "run, name", "%s, 'etl'"), (run, *place))
    night.ask(
        "warehouse",
        insert.format("step", "run, task, name", "%s, 'ExtractTable', 'shop.item'"),
        (run, *place),
    )
    told = night.run("status").out
    assert f"etl {run} failed, began " in told
    assert f"process {gone.pid} on {process_tree.place()} is gone" in told
    killed = "shop.item: ExtractTable failed: its process was killed"
    assert f"{killed}\n  next: pipeline rerun --run {run} shop.item\n" in told
    assert f"not loaded: shop.broken\n  next: pipeline rerun --run {run}\n" in told
    data = json.loads(night.run("status", "--json").out)
    assert (data["state"], data["steps"][0]["state"]) == ("failed", "failed")
    assert data["steps"][0]["next"] == f"pipeline rerun --run {run} shop.item"


@pytest.mark.endurance
def test_without_the_warehouse_the_bucket_and_the_work_folder_tell_of_backups(archive: Archive) -> None:
    """One that is verified, one that is being made and one that failed; and that the warehouse is away."""
    archive.source("shop", SMALL)
    archive.source("other", SMALL)
    archive.source("third", SMALL)
    run = next_run()
    assert archive.backup("shop", run).code == 0
    third = archive.work("third", run)
    with contextlib.suppress(StepError), third.step("UploadBackup"):
        raise StepError("B2 did not want it")
    vault, warehouse = archive.platform.sandbox.vault, archive.platform.database("warehouse")
    uri = (vault.read(warehouse) or {})["uri"]
    vault.write(warehouse, {"uri": re.sub(r":\d+/", ":1/", uri)})
    going = archive.work("other", run)
    with going.running():
        going.write_progress("DumpDatabase", 40, "3 MB written")
        ended, data = archive.run("status"), archive.run("status", "--json")
    assert (ended.code, len(ended.errors)) == (data.code, len(data.errors)) == (5, 1)
    assert ended.errors[0].startswith("the warehouse: no connection: ")
    assert re.search(rf"^shop +{run} +0 min .* yes", ended.out, re.MULTILINE)
    assert f"other: DumpDatabase of {run}: 3 MB written" in ended.out
    failed = "third: UploadBackup failed: B2 did not want it"
    assert f"{failed}\n  next: pipeline rerun --run {run} backup/third\n" in ended.out
    told = json.loads(data.out)
    assert (told["run"], told["state"], told["tables"]) == (None, "failed", [])
    assert {step["name"]: (step["task"], step["state"], step["next"]) for step in told["steps"]} == {
        "other": ("DumpDatabase", "running", None),
        "third": ("UploadBackup", "failed", f"pipeline rerun --run {run} backup/third"),
    }
    assert [(one["database"], one["run"], one["verified"]) for one in told["backups"]] == [
        ("other", None, False),
        ("shop", run, True),
        ("third", None, False),
    ]


def test_a_drill_that_did_not_hold_is_shown_with_what_to_type(night: Night) -> None:
    report = {
        "error": None,
        "assertions": [{"name": "rows", "held": False, "detail": "9 of 10"}],
        "controls": [],
    }
    night.ask(
        "warehouse",
        """
        INSERT INTO ops.drill (database, month, run, held, grade, recovery_seconds, deadline_seconds,
                               size_bytes, limit_bytes, finished_at, report)
        VALUES ('hr', '2030-01', '2030-01-02', false, 'F', 5, 1800, 1, NULL, now(), %s)
        """,
        (json.dumps(report),),
    )
    told = night.run("status").out
    assert "hr: RestoreDrill failed: rows: 9 of 10\n  next: pipeline rerun --run 2030-01 drill/hr\n" in told


def add_drill(night: Night, table: str, grade: str, days_ago: int, month: str = "2030-01") -> None:
    """Let the ledger have a drill of shop."""
    report = {"error": "a gap", "assertions": [], "controls": []}
    night.ask(
        "warehouse",
        f"""
        INSERT INTO ops.{table} (database, month, run, held, grade, recovery_seconds, deadline_seconds,
                                 size_bytes, limit_bytes, finished_at, report)
        VALUES ('shop', %s, '2030-01-02', %s, %s, 5, 1800, 1, NULL, now() - make_interval(days => %s), %s)
        """,
        (month, grade == "A", grade, days_ago, json.dumps(report)),
    )


def test_when_an_archive_was_last_proven_is_shown_beside_our_own_drill(archive: Archive) -> None:
    """Neither kind of drill is taken for one of the other, whichever of them is the newer one."""
    archive.source("shop", SMALL)
    night = Night(archive.platform)
    night.migrate()
    archive.write_sections(
        **{
            "database.shop": {"pgbackrest": "main"},
            "drill": {"secret": "drill"},
            "restore": {"secret": "restore/b2", "key_secret": "restore/key"},
        }
    )

    def shown() -> tuple[str, dict[str, dict[str, object]], list[str]]:
        told = json.loads(night.run("status", "--json").out)
        failed = [one["task"] for one in told["failures"]]
        lines = " ".join(night.run("status").out.split())
        return lines, {one["from"]: one for one in told["drills"]}, failed

    add_drill(night, "drill", "A", 1)
    lines, drills, _ = shown()
    assert list(drills) == ["backup"]
    assert re.search(r"shop none 2030-01 A ", lines)

    add_drill(night, "archive_drill", "A", 40)
    lines, drills, failed = shown()
    assert (drills["backup"]["state"], drills["pgbackrest"]["state"], failed) == ("ok", "stale", [])
    assert "shop: pgBackRest last proven " in lines
    assert ", 40 days 0 h ago: grade A" in lines
    stale = "shop: its last drill from pgBackRest, of 2030-01, is too old"
    assert f"{stale} next: pipeline run drill shop --from pgbackrest" in lines
    assert "shop: its last drill, of" not in lines

    add_drill(night, "archive_drill", "F", 0, "2030-02")
    lines, drills, failed = shown()
    assert failed == ["ArchiveDrill"]
    assert (drills["backup"]["held"], drills["backup"]["month"]) == (True, "2030-01")
    assert (drills["pgbackrest"]["held"], drills["pgbackrest"]["grade"]) == (False, "F")
    assert drills["pgbackrest"]["held_at"] is not None
    assert ", 40 days 0 h ago; drill of 2030-02: grade F" in lines
    assert "shop: ArchiveDrill failed: a gap next: pipeline run drill shop --from pgbackrest" in lines

    archive.write_sections(**{"database.shop": {"pgbackrest": ""}})
    lines, drills, failed = shown()
    assert (list(drills), failed) == (["backup"], [])
    assert "pgBackRest" not in lines

    # Where `pipeline migrate` was not run since: there are none, and no error.
    archive.write_sections(**{"database.shop": {"pgbackrest": "main"}})
    night.ask("warehouse", "DROP TABLE ops.archive_drill CASCADE")
    assert list(shown()[1]) == ["backup"]
