"""Whole nights through Luigi and its scheduler: what is loaded equals its source, whatever came between."""

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline import access, postgres
from pipeline.ledger import runs
from pipeline.sandbox import provision, sources
from pipeline.sandbox.servers import clusters
from tests.support.hooks import Hook
from tests.support.marts import declare, shown
from tests.support.night import Night, next_run, program, wait_until
from tests.tasks.conftest import CHANGES

EXAMPLE = Path(__file__).parents[2] / "examples" / "analysts"
SAMPLES = sources.SAMPLES


def sample_night(night: Night) -> Night:
    """A platform whose sources are the samples as they are on day 1."""
    for name in SAMPLES:
        night.platform.source(name, sources.script(name).read_text())
        night.platform.declare(name, (EXAMPLE / "sources" / f"{name}.yaml").read_text())
    return night


def day_2(night: Night, folder: Path) -> None:
    for name in SAMPLES:
        # The database is not called as the sample is.
        script = folder / f"{name}.sql"
        text = sources.script(f"day2_{name}").read_text()
        script.write_text(re.sub(r"COMMENT ON DATABASE.*?;", "", text))
        home, database = night.platform.sandbox.home, night.platform.database(name)
        sources.run_script(home, database, [f"--file={script}"], clusters.SUPERUSER, threading.Event())


def differing(night: Night) -> list[str]:
    return [difference for name in night.platform.sources for difference in night.differing(name)]


def loads(night: Night, run: str) -> dict[str, dict[str, Any]]:
    """Return what the run did with each table."""
    query = "SELECT name, detail FROM ops.step WHERE run = %s AND task = 'LoadTable' AND state = 'done'"
    return dict(night.ask("warehouse", query, (run,)))


@pytest.mark.endurance
def test_two_nights_of_the_samples_and_a_third_that_changes_nothing(night: Night, tmp_path: Path) -> None:
    """Every table equals its source by a checksum over all columns; what did not change is not touched."""
    sample_night(night)
    first, second, third = next_run(), next_run(), next_run()

    ended = night.etl(first)
    assert (ended.code, ended.errors) == (0, []), ended.out
    assert differing(night) == []
    assert len(loads(night, first)) == 20

    day_2(night, tmp_path)
    ended = night.etl(second)
    assert (ended.code, ended.errors) == (0, []), ended.out
    assert differing(night) == []
    done = loads(night, second)
    incremental = {name for name, detail in done.items() if detail["mode"] == "increment"}
    assert incremental >= {"hr.employee", "records.enrolment", "service_desk.ticket", "service_desk.comment"}
    assert sum(detail["deleted"] for detail in done.values()) > 1000
    assert "20 tables" in ended.out

    touched = touched_at(night)
    ended = night.etl(third)
    assert (ended.code, ended.errors) == (0, []), ended.out
    assert "nothing changed" in ended.out
    assert differing(night) == []
    assert touched_at(night) == touched
    idle = loads(night, third).values()
    assert {detail[key] for detail in idle for key in ("inserted", "updated", "deleted")} == {0}

    ended = night.etl(third)
    assert (ended.code, ended.errors) == (0, []), ended.out
    assert "is complete already; nothing to do" in ended.out


def touched_at(night: Night) -> dict[str, Any]:
    """Return, for every loaded table, its rows' times of loading, and where they lie on disk."""
    with night.warehouse() as warehouse:
        tables = postgres.rows(
            warehouse,
            "SELECT format('%%I.%%I', schemaname, tablename) FROM pg_tables WHERE schemaname = ANY(%s)",
            (night.platform.sources,),
        )
        query = "SELECT count(*), max(_loaded_at), sum(hashtext(ctid::text || xmin::text)) FROM "
        return {table: postgres.rows(warehouse, query + table) for (table,) in tables}


@pytest.mark.endurance
def test_plain_luigi_does_the_same(shop: Night) -> None:
    """`luigi --module tasks.etl LoadWarehouse --run R` needs nothing of ours around it."""
    run = next_run()
    done = subprocess.run(
        [program("luigi"), "--module", "tasks.etl", "LoadWarehouse", "--run", run],
        env=shop.platform.env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert differing(shop) == []
    assert len(loads(shop, run)) == 3
    wait_until(lambda: not shop.ours(), "the holder of the snapshot has ended with its worker")


def test_one_table_that_fails_stops_only_itself(hook: Hook, shop: Night) -> None:
    """The others are loaded, people are told what failed and why, once, and only that runs the next time."""
    run = next_run()
    reader = shop.platform.reader("shop")
    shop.ask("shop", f"REVOKE SELECT ON purchase FROM {reader}")
    ended = shop.etl(run)
    assert ended.code == 3
    assert "shop.purchase: ExtractTable failed: the source's role may not read" in ended.out
    (following,) = re.findall("next: (.*)", ended.out)
    assert following.startswith(
        'GRANT SELECT ON "public"."purchase", or remove purchase from sources/shop.yaml'
    )
    assert following.endswith(f"then pipeline rerun --run {run} shop.purchase")
    before = loads(shop, run)
    assert set(before) == {"shop.customer", "shop.event"}
    assert shop.differing("shop", "customer", "event") == []

    shop.ask("shop", f"GRANT SELECT ON purchase TO {reader}")
    ended = shop.etl(run)
    assert (ended.code, ended.errors) == (0, []), ended.out
    assert differing(shop) == []
    assert {name: detail for name, detail in loads(shop, run).items() if name in before} == before
    assert hook.received() == [("failed", "etl/shop.purchase"), ("recovered", "etl/shop.purchase")]
    alert = hook.alerts()[0]
    assert re.search(r"#tab=graph&taskId=etl.ExtractTable_\w*shop_purchase_\w+$", alert.task_url or "")
    assert f"/log/{run}/etl.ExtractTable_" in (alert.log_url or "")


@pytest.mark.parametrize("tables", ["{a: }", '"*"'])
def test_a_source_that_luigi_cfg_lacks_stops_only_itself_and_the_marts_that_read_it(
    hook: Hook, shop: Night, tables: str
) -> None:
    """As where an analyst merges its file too early: one failure, and one alert, of that source."""
    shop.platform.declare("new", f"source: new\ntables: {tables}\n")
    declare(shop, early="SELECT count(*) AS n FROM new.a", known="SELECT count(*) AS n FROM shop.customer")
    run = next_run()
    ended = shop.etl(run)
    assert ended.code == 2, ended.err
    assert shop.differing("shop") == []
    assert shown(shop, "known") == [(500,)]
    lines = ended.out.splitlines()
    fix = "to add it, write [source.new] with secret = PATH_IN_VAULT there"
    assert "new: OpenSnapshot failed: source new: not in luigi.cfg (known: shop)" in lines
    assert f"  next: {fix}, then pipeline rerun --run {run} new" in lines
    assert f"mart.early: not built, because it reads new.a, which run {run} lacks" in lines
    status = shop.run("status")
    assert status.code == 3
    assert status.out.startswith("failed: 2 failures are open")
    assert set(lines[-3:]) - set(status.out.splitlines()) == set()
    # By itself it is refused at once.
    alone = shop.etl(run, "--source", "new")
    assert (alone.code, alone.errors) == (2, [f"source new: not in luigi.cfg (known: shop); {fix}"])
    (alert,) = [one for one in hook.alerts() if one.key == "etl/new"]
    assert (alert.kind, alert.hint, alert.command) == ("failed", fix, f"pipeline rerun --run {run} new")

    shop.platform.source("new", "CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1), (2);")
    ended = shop.run("rerun", "--run", run, "new")
    assert (ended.code, ended.errors) == (0, []), ended.out
    ended = shop.run("rerun", "--run", run)
    assert (ended.code, ended.errors) == (0, []), ended.out
    assert shown(shop, "early") == [(2,)]
    assert [one.kind for one in hook.alerts("etl/new")] == ["failed", "recovered"]


@pytest.mark.endurance
def test_a_loaded_set_of_pgbench_tables_is_of_one_moment(night: Night) -> None:
    """With transfers going on throughout, the four sums agree in every loaded set."""
    night.platform.source("bank")
    reader = night.platform.reader("bank")
    pgbench(night, "--initialize", "--quiet", "--foreign-keys").wait()
    night.ask("bank", f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {reader}")
    tables = "pgbench_accounts: {}, pgbench_branches: {}, pgbench_tellers: {}, pgbench_history: {}"
    night.platform.declare("bank", f"source: bank\ntables: {{{tables}}}\n")
    writing = pgbench(night, "--client=3", "--jobs=2", "--time=300", "--no-vacuum")
    try:
        seen = set()
        for _ in range(2):
            run = next_run()
            wait_until(lambda: night.value("bank", "SELECT count(*) FROM pgbench_history"), "transfers")
            ended = night.etl(run)
            assert (ended.code, ended.errors) == (0, [])
            sums = night.ask("warehouse", BALANCES)[0]
            assert len(set(sums)) == 1, sums
            seen.add(sums)
        assert len(seen) == 2, "money moved between the runs"
        assert writing.poll() is None, "the writers wrote all the while"
    finally:
        writing.kill()
        writing.wait()
    night.etl(next_run())
    assert differing(night) == []


BALANCES = """
    SELECT (SELECT sum(abalance) FROM bank.pgbench_accounts),
           (SELECT sum(bbalance) FROM bank.pgbench_branches),
           (SELECT sum(tbalance) FROM bank.pgbench_tellers),
           (SELECT sum(delta) FROM bank.pgbench_history)
"""


def pgbench(night: Night, *arguments: str) -> "subprocess.Popen[bytes]":
    home = night.platform.sandbox.home
    return subprocess.Popen(
        [
            clusters.BINARIES / "pgbench",
            *clusters.socket_arguments(home, provision.SOURCES),
            *arguments,
            night.platform.database("bank"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


# kill -9

STEPS = [
    ("OpenSnapshot", "running"),
    ("ExtractTable", "running"),
    ("ValidateExtract", "running"),
    ("LoadTable", "running"),
    ("LoadTable", "done"),
]


def kill(night: Night, process: "subprocess.Popen[str]") -> None:
    """Kill the whole of the run at once, as a node that loses its power would."""
    with contextlib.suppress(ProcessLookupError):  # it may just have ended by itself
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    wait_until(lambda: not night.ours(), "the holder of the snapshot ends by itself", 30)


def wait_until_reached(
    night: Night, process: "subprocess.Popen[str]", run: str, task: str, state: str
) -> None:
    query = "SELECT count(*) FROM ops.step WHERE run = %s AND task = %s AND state IN (%s, 'done')"
    with night.warehouse() as warehouse:
        wait_until(
            lambda: process.poll() is not None or postgres.value(warehouse, query, (run, task, state)),
            f"{task} is {state}",
        )


@contextlib.contextmanager
def loaded_then_changed(shop: Night) -> Iterator[None]:
    """Load the shop once and change some of it; afterwards see that only that was loaded, and once."""
    assert shop.etl(next_run()).code == 0
    unchanged = "SELECT id, _loaded_at, ctid::text FROM shop.customer WHERE id > 10"
    before = shop.ask("warehouse", unchanged)
    shop.ask("shop", CHANGES)
    yield
    assert differing(shop) == []
    assert shop.ask("warehouse", unchanged) == before
    assert shop.value("warehouse", "SELECT count(*) FROM pg_tables WHERE schemaname = 'staging'") == 0


def finished(shop: Night, run: str) -> None:
    """See that the same command ends it, and that each load was done once."""
    already = loads(shop, run)
    ended = shop.etl(run)
    assert (ended.code, ended.errors) == (0, []), ended.out
    done = loads(shop, run)
    assert {name: done[name] for name in already} == already
    counts = {name: (d["inserted"], d["updated"], d["deleted"]) for name, d in done.items()}
    assert counts == {"shop.customer": (0, 10, 0), "shop.purchase": (30, 0, 20), "shop.event": (1, 0, 1)}
    assert not shop.ours()


@pytest.mark.endurance
def test_killed_at_each_step_the_same_command_ends_the_run(shop: Night) -> None:
    with loaded_then_changed(shop):
        run = next_run()
        for task, state in STEPS:
            process = shop.start_etl(run)
            wait_until_reached(shop, process, run, task, state)
            kill(shop, process)
        finished(shop, run)


@pytest.mark.endurance
def test_killed_at_random_moments_the_same_command_ends_the_run(shop: Night) -> None:
    moments = random.Random(20261122)  # noqa: S311 - so that a failure can be had again
    with loaded_then_changed(shop):
        run = next_run()
        for _ in range(5):
            process = shop.start_etl(run)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(moments.uniform(0.3, 4.5))
            kill(shop, process)
        finished(shop, run)


@pytest.mark.endurance
def test_a_parent_that_is_killed_alone_takes_its_run_along(shop: Night) -> None:
    """Nobody would be left to judge or to stop what goes on."""
    run = next_run()
    with shop.platform.connect("shop") as blocker:
        blocker.autocommit = False
        postgres.rows(blocker, "LOCK TABLE purchase IN ACCESS EXCLUSIVE MODE")
        process = shop.start_etl(run)
        query = "SELECT pid FROM ops.step WHERE run = %s AND name = 'shop.purchase' AND state = 'running'"
        wait_until(lambda: shop.ask("warehouse", query, (run,)), "the extraction has begun")
        process.kill()
        wait_until(lambda: not shop.ours(), "Luigi, its tasks and the holder of the snapshot have ended", 30)
    assert shop.etl(run).code == 0
    assert differing(shop) == []


@pytest.mark.endurance
def test_a_step_that_is_killed_alone_does_not_take_the_run_along(shop: Night) -> None:
    """The kernel may end one process for want of memory: its step is tried again."""
    run = next_run()
    with shop.platform.connect("shop") as blocker:
        blocker.autocommit = False
        postgres.rows(blocker, "LOCK TABLE purchase IN ACCESS EXCLUSIVE MODE")
        process = shop.start_etl(run)
        query = "SELECT pid FROM ops.step WHERE run = %s AND name = 'shop.purchase' AND state = 'running'"
        (pid,) = wait_until(lambda: shop.ask("warehouse", query, (run,)), "the extraction has begun")[0]
        psutil.Process(pid).kill()
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err
    assert differing(shop) == []


@pytest.mark.endurance
def test_a_table_that_is_truncated_under_the_snapshot_is_loaded_by_the_second_try(shop: Night) -> None:
    """It takes another one, since at the first one the table has no rows for as long as that is held."""
    run = next_run()
    with shop.platform.connect("shop") as other:
        other.autocommit = False
        postgres.rows(other, "LOCK TABLE purchase IN ACCESS EXCLUSIVE MODE")
        process = shop.start_etl(run)
        waiting = (
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        wait_until(lambda: shop.ask("shop", waiting), "the extraction waits for the table")
        postgres.rows(other, "CREATE TEMP TABLE kept ON COMMIT DROP AS TABLE purchase")
        postgres.rows(other, "TRUNCATE purchase; INSERT INTO purchase TABLE kept")
        other.commit()
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err
    assert err.count("OpenSnapshot shop] as of ") == 2
    assert differing(shop) == []


# Told to stop, over a limit, and asked twice.


@contextlib.contextmanager
def held_in(shop: Night, task: str, run: str) -> Iterator["tuple[subprocess.Popen[str], psutil.Process]"]:
    """Start a run in which `task` of shop.purchase does not come to an end; yield its command and that step.

    A load is kept from writing into its table, an extraction from reading its own.
    """
    place, mode = (
        ("warehouse", "SHARE ROW EXCLUSIVE") if task == "LoadTable" else ("shop", "ACCESS EXCLUSIVE")
    )
    table = "shop.purchase" if task == "LoadTable" else "public.purchase"
    assert shop.etl(next_run()).code == 0
    shop.ask("shop", CHANGES)
    with shop.platform.connect(place) as blocker:
        blocker.autocommit = False
        postgres.rows(blocker, f"LOCK TABLE {table} IN {mode} MODE")
        process = shop.start_etl(run)
        query = """
            SELECT pid FROM ops.step
            WHERE run = %s AND name = 'shop.purchase' AND task = %s AND state = 'running'
            """
        found = wait_until(lambda: shop.ask("warehouse", query, (run, task)), f"{task} has begun")
        waiting = (
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        wait_until(lambda: shop.ask(place, waiting), f"{task} waits for the table")
        yield process, psutil.Process(found[0][0])


def ignored(process: psutil.Process | None) -> set[int]:
    """Return the numbers of the signals that a process ignores."""
    assert process is not None
    (line,) = [one for one in Path(f"/proc/{process.pid}/status").read_text().splitlines() if "SigIgn" in one]
    mask = int(line.split()[1], 16)
    return {number for number in signal.valid_signals() if mask >> (number - 1) & 1}


def sessions(shop: Night) -> list[Any]:
    """Return what the pipeline does in the servers."""
    query = """
        SELECT pid, query FROM pg_stat_activity
        WHERE application_name = 'pipeline' AND datname = current_database()
        """
    return shop.ask("shop", query) + shop.ask("warehouse", query)


@pytest.mark.endurance
@pytest.mark.parametrize(
    ("task", "number", "whom"),
    [
        ("ExtractTable", signal.SIGTERM, "parent"),
        ("ExtractTable", signal.SIGINT, "group"),
        ("LoadTable", signal.SIGTERM, "parent"),
        ("LoadTable", signal.SIGTERM, "parent, while the step is stopped"),
    ],
)
def test_told_to_stop_it_ends_with_143_and_leaves_nobody_behind(
    shop: Night, task: str, number: signal.Signals, whom: str
) -> None:
    """Nomad sends SIGTERM to the parent alone; Ctrl-C reaches the whole group of the terminal."""
    run = next_run()
    with held_in(shop, task, run) as (process, step):
        if "stopped" in whom:
            step.suspend()
        if whom == "group":
            # It reaches Luigi as well, which leaves it to the parent: that records which steps were at work.
            assert ignored(step) >= {number}
            assert ignored(step.parent()) >= {number}
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        process.communicate(timeout=60)
        assert process.returncode == 143
        # Not even who holds the snapshot; nor do sessions in the servers, which wait for the table.
        assert shop.ours() == []
        wait_until(lambda: not sessions(shop), "their sessions have ended")
    assert shop.ask("warehouse", "SELECT state, error FROM ops.run WHERE run = %s", (run,)) == [
        ("failed", "stopped by a signal")
    ]
    stopped = shop.step(run, task, "shop.purchase")
    assert stopped is not None
    assert (stopped.state, stopped.error, stopped.exit_code) == ("failed", "stopped by a signal", 143)
    finished(shop, run)
    assert differing(shop) == []


@pytest.mark.endurance
@pytest.mark.parametrize(("limit", "minutes"), [("step_minutes", 0.25), ("run_minutes", 0.75)])
def test_what_is_over_its_limit_fails_is_recorded_and_told_and_leaves_nobody(
    hook: Hook, shop: Night, limit: str, minutes: float
) -> None:
    """Though it waits in libpq, where a signal with a handler of Python's would not be heard."""
    run = next_run()
    with shop.platform.settings_file.open("a") as file:
        file.write(f"[run]\n{limit} = {minutes}\n")
    with held_in(shop, "LoadTable", run) as (process, _):
        out, err = process.communicate(timeout=200)
        assert process.returncode == 3, out + err
        assert shop.ours() == []
    failed = shop.step(run, "LoadTable", "shop.purchase")
    assert failed is not None
    assert failed.error is not None
    assert (failed.state, failed.exit_code) == ("failed", 3)
    assert f"over its limit of {minutes} minutes ([run] {limit})" in failed.error
    assert f"over its limit of {minutes} minutes ([run] {limit})" in out + err
    assert shop.value("warehouse", "SELECT state FROM ops.run WHERE run = %s", (run,)) == "failed"
    (alert,) = hook.alerts()
    assert alert.kind == "failed"
    assert alert.key == ("etl/shop.purchase" if limit == "step_minutes" else "run/etl")
    assert f"over its limit of {minutes} minutes" in (alert.error or "")
    finished(shop, run)
    assert differing(shop) == []
    assert hook.received()[1:] == [("recovered", alert.key)]


def refused(shop: Night, run: str) -> None:
    """See that another load than the one that goes on is refused, and says which that is."""
    query, other = "SELECT started_at, host, pid FROM ops.run WHERE run = %s", next_run()
    ((started_at, host, pid),) = wait_until(lambda: shop.ask("warehouse", query, (run,)), "the run has begun")
    ended = shop.etl(other)
    status = shop.run("status", "--json")
    assert ended.code == 6
    assert ended.errors == [
        f"a load is already running: run {run}, since {started_at:%Y-%m-%d %H:%M} UTC on {host} "
        f"(process {pid}); wait for it to end"
    ]
    assert json.loads(status.out)["run_state"] == "running"
    assert shop.ask("warehouse", "SELECT count(*) FROM ops.step WHERE run = %s", (other,)) == [(0,)]


def test_a_second_run_is_refused_while_one_is_going(shop: Night) -> None:
    run = next_run()
    with (
        access.opened(shop.settings) as databases,
        databases.warehouse(autocommit=True) as warehouse,
        runs.running(warehouse, run, "etl"),
    ):
        refused(shop, run)


@pytest.mark.endurance
def test_a_second_run_is_refused_while_another_command_has_one(shop: Night) -> None:
    run = next_run()
    with shop.platform.connect("shop") as blocker:
        blocker.autocommit = False
        postgres.rows(blocker, "LOCK TABLE purchase IN ACCESS EXCLUSIVE MODE")
        process = shop.start_etl(run)
        refused(shop, run)
    process.communicate(timeout=120)
    assert process.returncode == 0


@pytest.mark.endurance
def test_several_tables_are_loaded_at_one_moment_and_rerun_together(night: Night) -> None:
    script = "CREATE TABLE {0} (id int PRIMARY KEY); INSERT INTO {0} VALUES (1);"
    night.platform.source(
        "shop",
        "".join(script.format(name) for name in "abc"),
        "source: shop\ntables: {a: {}, b: {}, c: {}}\n",
    )
    run = next_run()
    ended = night.etl(run, "--source", "shop", "--table", "a", "--table", "b", "--table", "a")
    assert ended.code == 0, ended.err
    assert sorted(loads(night, run)) == ["shop.a", "shop.b"]
    assert len({str(detail["fresh_as_of"]) for detail in loads(night, run).values()}) == 1
    assert night.value("warehouse", "SELECT scope FROM ops.run WHERE run = %s", (run,)) == [
        "shop.a",
        "shop.b",
    ]
    night.ask("shop", "INSERT INTO a VALUES (2)")
    again = night.run("rerun", "--run", run, "--from", "extract")
    assert again.code == 0, again.err
    assert night.value("warehouse", "SELECT count(*) FROM shop.a") == 2
    wrong = night.etl(next_run(), "--source", "shop", "--table", "a", "--table", "bb")
    assert wrong.code == 2
    assert "shop.bb: no such table" in wrong.err
