"""Values of people, planted in rows that a server or a program refuses: they are in no message, and why it
refused them comes first.
"""

from pathlib import Path

import pytest

from pipeline import postgres
from pipeline.sandbox.servers import clusters
from pipeline.system import complaints
from tests.support.archive import SMALL, Archive, script
from tests.support.hooks import Hook
from tests.support.night import Ended, Night, next_run
from tests.support.platforms import Platform
from tests.support.restores import RUN, Restores

PLANTED = "Anna-Planted"
MONTH = "2026-11"
# Rows that are refused where they are restored.
UNRESTORABLE = f"""
CREATE FUNCTION fits(text) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN RETURN current_database() NOT LIKE 'drill%'; END $$;
CREATE TABLE person (id int, name text CHECK (fits(name)));
INSERT INTO person SELECT n, '{PLANTED} ' || n FROM generate_series(1, 50) AS n;
"""
VIEW = f"""
CREATE TABLE person (id int PRIMARY KEY, name text);
INSERT INTO person SELECT n, '{PLANTED} ' || n FROM generate_series(1, 50) AS n;
CREATE VIEW number AS SELECT id, name::int AS name FROM person;
"""
DECLARED = "source: shop\ntables: {{{}}}\n"


def everything(platform: Platform, hook: Hook, ended: Ended) -> str:
    """Return all that was said, sent and kept, of a failure."""
    files = [path for path in platform.folder.rglob("*") if path.is_file() and path.suffix != ".asc"]
    kept = "".join(path.read_bytes().decode(errors="replace") for path in files)
    return ended.out + ended.err + "".join(one["raw"] for one in hook.requests()) + kept


def ledger(night: Night) -> str:
    with night.platform.connect("warehouse") as warehouse:
        texts = "SELECT string_agg(t::text, '') FROM ops.{} AS t"
        return "".join(
            postgres.value(warehouse, texts.format(name)) or ""
            for name in ("run", "step", "alert", "check_result")
        )


@pytest.mark.endurance
def test_a_row_that_cannot_be_read_is_in_no_message_of_a_load(night: Night, hook: Hook) -> None:
    night.platform.source("shop", VIEW, DECLARED.format("number: {changes: full, key: [id]}"))
    run = next_run()
    ended = night.run("run", "etl", "--run", run)
    assert ended.code == 3
    status = night.run("status", "--run", run)
    said = everything(night.platform, hook, ended) + status.out + status.err + ledger(night)
    assert 'invalid input syntax for type integer: "..."' in (hook.alerts()[0].error or "")
    assert 'invalid input syntax for type integer: "..."' in status.out
    assert PLANTED not in said


@pytest.mark.endurance
@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("CREATE UNIQUE INDEX once ON shop.person (left(name, 12))", 'unique constraint "once"'),
        ("ALTER TABLE shop.person ADD CHECK (id < 51)", 'violates check constraint "person_id_check"'),
    ],
)
def test_a_row_that_cannot_be_published_is_in_no_message_of_a_load(
    night: Night, hook: Hook, rule: str, why: str
) -> None:
    night.platform.source("shop", VIEW, DECLARED.format("person: {}"))
    assert night.run("run", "etl", "--run", next_run()).code == 0
    with night.platform.connect("warehouse") as warehouse, night.platform.connect("shop") as source:
        postgres.rows(warehouse, "UPDATE shop.person SET name = id::text")
        postgres.rows(warehouse, rule)
        postgres.rows(source, "INSERT INTO person SELECT n, 'Anna-Planted' FROM generate_series(51, 99) AS n")
    run = next_run()
    ended = night.run("run", "etl", "--run", run)
    assert ended.code == 3, ended.err
    status = night.run("status", "--run", run)
    said = everything(night.platform, hook, ended) + status.out + status.err + ledger(night)
    assert why in (hook.alerts()[0].error or "")
    assert why in status.out
    assert PLANTED not in said


@pytest.mark.endurance
def test_why_a_restore_failed_comes_first_and_no_row_is_in_its_report(restores: Restores, hook: Hook) -> None:
    """The report is in the bucket, where it is not encrypted."""
    restores.source("shop", UNRESTORABLE)
    restores.back_up("shop")
    ended = restores.archive.run("run", "drill", "shop", "--month", MONTH)
    assert ended.code in (3, 4)
    report = restores.report("shop", MONTH)
    status = restores.archive.run("status", "--json")
    why = 'check constraint "person_name_check"'
    assert why in (hook.alerts()[0].error or "")
    assert why in report.model_dump_json().replace('\\"', '"')
    assert PLANTED not in everything(restores.archive.platform, hook, ended) + status.out
    assert PLANTED not in report.model_dump_json()
    assert report.run == RUN


@pytest.mark.endurance
def test_why_a_dump_failed_comes_first_and_nothing_that_it_quotes(archive: Archive, hook: Hook) -> None:
    archive.source("shop", SMALL)
    lines = [
        'pg_dump: error: Dumping the contents of table "item" failed: PQgetResult() failed.',
        f'pg_dump: detail: Error message from server: ERROR:  invalid value: "{PLANTED}"',
        f'CONTEXT:  COPY item, line 1: "{PLANTED}',
        f'{PLANTED}"',
        f"pg_dump: detail: Command was: COPY public.item (name) TO stdout WHERE name = '{PLANTED}';",
        *(f"pg_dump: noise {n}" for n in range(20)),
    ]
    noise = archive.folder / "tools-noise"
    noise.write_text("\n".join(lines))
    real = clusters.BINARIES / "pg_dump"
    made = script(
        archive.folder,
        "pg_dump",
        f'case "$*" in *--snapshot*) cat {noise} >&2; exit 1;; *) exec {real} "$@";; esac',
    )
    archive.write_settings(postgres_bin=str(made))
    ended = archive.backup("shop", next_run())
    noise.unlink()
    assert ended.code == 3
    (alert,) = hook.alerts()
    assert 'ERROR: invalid value: "..."; pg_dump: error: Dumping' in (alert.error or "")
    assert PLANTED not in everything(archive.platform, hook, ended)


def test_the_reason_of_a_program_is_told_however_much_it_says_afterwards() -> None:
    lines = [
        "pg_restore: while PROCESSING TOC:",
        "pg_restore: error: could not execute query: FEHLER:  keine Berechtigung für Schema public",
        "Command was: GRANT ALL ON TABLE public.item TO clerk;",
        "",
        *["pg_restore: noise"] * 40,
        "pg_restore: error: a worker process died unexpectedly",
    ]
    told = complaints.of("\n".join(lines)).splitlines()
    assert told[0] == lines[1]
    assert "GRANT" not in "".join(told)


def test_a_program_of_another_kind_is_told_as_it_is(tmp_path: Path) -> None:
    text = "\n".join(f"line {n} of {tmp_path}" for n in range(20))
    assert complaints.of(text) == "\n".join(text.splitlines()[-8:])
