"""A mask hides a value, and not only one column: what shows the same value beside it is not loaded unseen."""

import json
import re
from typing import Any

import pytest

from pipeline.errors import CheckError
from pipeline.loading import extract
from tests.support.night import Night

KEY = "a key for the hashes of this test, long enough"
SOURCE = """
    CREATE DOMAIN given AS text NOT NULL;
    CREATE TABLE person (
        id int PRIMARY KEY, phone text, town text, born given,
        area text GENERATED ALWAYS AS (left(phone, 8)) STORED,
        size int GENERATED ALWAYS AS (length(town)) STORED);
    INSERT INTO person SELECT n, 'SECRET-' || n, 'town', 'SECRET' FROM generate_series(1, 5) n;

    CREATE VIEW v_plain AS SELECT id, town, phone AS number FROM person;
    CREATE VIEW v_computed AS SELECT id, town, upper(phone) AS loud, id + 1 AS more FROM person;
    CREATE VIEW v_over AS SELECT id, number || '!' AS called FROM v_plain;
    CREATE VIEW v_clean AS SELECT id, town, id + 1 AS more, 'a.*' AS text FROM person;
    CREATE VIEW v_row AS SELECT p.id, to_jsonb(p) AS everything FROM person p;
    CREATE VIEW v_composite AS SELECT p.id, p AS whole FROM person p;
    CREATE VIEW v_nested AS
        SELECT x.id, x.n, (SELECT max(phone) FROM person y WHERE y.id = x.id) AS top
        FROM (SELECT id, phone AS n FROM person) x;
    CREATE VIEW v_union AS SELECT id, phone AS either FROM person UNION ALL SELECT id, town FROM person;
    CREATE MATERIALIZED VIEW m_generated AS SELECT id, area FROM person;

    CREATE FUNCTION hidden(which int) RETURNS text STABLE LANGUAGE sql
        AS 'SELECT phone FROM public.person WHERE id = which';
    CREATE FUNCTION parsed(which int) RETURNS text STABLE LANGUAGE sql
        BEGIN ATOMIC SELECT phone FROM public.person WHERE id = which; END;
    CREATE FUNCTION pure(what text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT upper(what)';
    CREATE VIEW v_function AS SELECT id, hidden(id) AS by_function, pure(town) AS loud FROM person;
    CREATE VIEW v_parsed AS SELECT id, parsed(id) AS by_function FROM person;
    CREATE VIEW v_pure AS SELECT id, pure(town) AS loud FROM person;

    CREATE TABLE audit (id int PRIMARY KEY, before person);
    CREATE TABLE event (id int, phone text, at int) PARTITION BY RANGE (at);
    CREATE TABLE event_1 PARTITION OF event FOR VALUES FROM (1) TO (9);
"""
MASKS: dict[str, Any] = {"phone": {"mask": "hash"}, "born": {"mask": "null"}}
# What is told of each table: the columns, and the name of what they show.
SHOWN = {
    "v_plain": ["number"],
    "v_computed": ["loud", "more"],
    "v_over": ["called"],
    "v_clean": [],
    "v_row": ["everything"],
    "v_composite": ["whole"],
    "v_nested": ["n", "top"],
    "v_union": ["either", "id"],
    "m_generated": ["area"],
    "v_function": ["by_function", "loud"],
    "v_parsed": ["by_function"],
    "v_pure": [],
    "audit": ["before"],
    "event_1": ["phone"],
    "same": ["area", "phone"],
}


def declare(night: Night, reviewed: bool) -> None:
    tables: dict[str, Any] = {
        "person": {"columns": {**MASKS, "area": {"mask": "hash"}}},
        "event": {"changes": "full", "columns": {"phone": {"mask": "hash"}}},
        # Once more, and nobody thought of the mask.
        "same": {"table": "person"},
    }
    for name in SHOWN:
        tables.setdefault(name, {"changes": "full"})
    if reviewed:
        for name, columns in SHOWN.items():
            tables[name]["columns"] = {column: {"unmasked": "reviewed"} for column in columns}
        tables["same"]["columns"]["born"] = {"mask": "exclude"}
    text = json.dumps({"source": "shop", "tables": tables})  # JSON is YAML
    night.platform.declare("shop", text)


@pytest.fixture
def people(night: Night) -> Night:
    night.platform.sandbox.vault.write("mask", {"key": KEY})
    night.platform.source("shop", SOURCE)
    declare(night, reviewed=False)
    return night


def test_what_shows_a_masked_value_beside_its_column_is_not_loaded_until_it_is_reviewed(
    people: Night,
) -> None:
    """Generated columns, views on views, whole rows, functions, partitions: as the source knows it."""
    run = "2032-02-01"
    found: dict[str, list[str]] = {}
    with people.snapshot("shop", run):
        for name in SHOWN:
            try:
                extract.extract_table(people.settings, people.table("shop", name), run)
                found[name] = []
            except CheckError as error:
                told = str(error)
                assert "would show masked values: " in told
                assert "write 'unmasked: reviewed' under" in told
                found[name] = sorted(set(re.findall(r'column "(\w+)" \(', told)))
    assert found == {**SHOWN, "same": ["area", "born", "phone"]}
    declare(people, reviewed=True)
    for name in ("v_computed", "audit", "event_1", "same"):
        people.load("shop", name)
    assert people.value("warehouse", "SELECT loud FROM shop.v_computed WHERE id = 1") == "SECRET-1"


def test_plan_tells_what_would_show_a_masked_value(people: Night) -> None:
    ended = people.run("plan", "shop", "--table", "v_over")
    assert ended.code == 4
    assert (
        'drift: column "called" (text) would show masked values: public.person.phone; to accept it, '
        in ended.out
    )
    assert ended.errors == ["1 table would be held back: shop.v_over"]


def test_a_generated_column_of_a_masked_one_is_held_back_and_a_domain_takes_its_mask(people: Night) -> None:
    text = json.dumps({"source": "shop", "tables": {"person": {"columns": MASKS}}})
    people.platform.declare("shop", text)
    with pytest.raises(CheckError, match=r'column "area" \(text\) would show .*: public\.person\.phone; its'):
        people.load("shop", "person")
    people.platform.declare("shop", text.replace('"born"', '"area": {"mask": "exclude"}, "born"'))
    people.load("shop", "person")
    assert people.ask("warehouse", "SELECT DISTINCT born, size FROM shop.person") == [(None, 4)]
