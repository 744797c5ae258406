"""A table that is new in a source and that nobody declared is told, once a week and with the line to type."""

import pytest

from pipeline import access, catalog
from pipeline.loading import undeclared
from tests.support.hooks import Hook
from tests.support.night import Night, next_run

SHOP = """
    CREATE TABLE item (id int PRIMARY KEY);
    CREATE TABLE old (id int);
    CREATE SCHEMA pay;
"""
DECLARED = "source: shop\ntables:\n  item: {}\n  bill: {table: invoice}\nleave: [tmp_*, pay.draft]\n"
NEW = """
    CREATE TABLE refund (id int); CREATE TABLE invoice (id int); CREATE TABLE tmp_1 (id int);
    CREATE TABLE pay.contract (id int); CREATE TABLE pay.draft (id int);
    GRANT USAGE ON SCHEMA pay TO PUBLIC; GRANT SELECT ON ALL TABLES IN SCHEMA pay TO PUBLIC;
"""


def look(night: Night) -> None:
    source = catalog.read(night.platform.analysts).source("shop")
    with access.opened(night.settings) as databases:
        undeclared.send_notice(databases, source)


def test_a_new_table_that_nobody_declared_is_told_once_a_week(night: Night, hook: Hook) -> None:
    night.platform.source("shop", SHOP, DECLARED)
    look(night)
    night.ask("shop", NEW)
    for _ in range(3):
        look(night)
    (told,) = hook.alerts()
    assert (told.kind, told.key, told.command) == ("notice", "new/shop", "pipeline plan shop")
    assert told.summary == (
        "shop: 2 tables are new in the source and not loaded: pay.contract, public.refund"
    )
    assert told.hint == (
        "to load them, write 'contract: {schema: pay}', 'refund:' under tables in sources/shop.yaml, "
        "or the name under leave"
    )
    # Nothing is wrong: no failure is open.
    assert night.ask("warehouse", "SELECT key FROM platform.alerts WHERE open") == []
    night.platform.declare("shop", DECLARED.replace("leave", "  contract: {schema: pay}\nleave"))
    night.ask("warehouse", "UPDATE ops.source_relation SET told_at = told_at - interval '7 days'")
    look(night)
    look(night)
    assert [alert.summary for alert in hook.alerts()[1:]] == [
        "shop: a table is new in the source and not loaded: public.refund"
    ]
    night.ask("shop", "DROP TABLE refund")
    night.ask("warehouse", "UPDATE ops.source_relation SET told_at = NULL")
    look(night)
    assert len(hook.alerts()) == 2


def test_a_table_that_could_not_be_read_for_a_while_is_not_new_when_it_is_back(
    night: Night, hook: Hook
) -> None:
    """Neither one that was there before, nor one that was told of: that is told once a week all the same."""
    night.platform.source("shop", SHOP, DECLARED)
    look(night)
    night.ask("shop", "CREATE TABLE refund (id int)")
    look(night)
    assert len(hook.alerts()) == 1
    night.ask("shop", "ALTER TABLE refund RENAME TO tmp_2; ALTER TABLE old RENAME TO tmp_3")
    look(night)
    night.ask("shop", "ALTER TABLE tmp_2 RENAME TO refund; ALTER TABLE tmp_3 RENAME TO old")
    look(night)
    assert len(hook.alerts()) == 1


def test_what_is_new_after_a_look_that_found_nothing_is_told(night: Night, hook: Hook) -> None:
    night.platform.source("shop", "CREATE SCHEMA pay", DECLARED)
    look(night)
    night.ask("shop", "CREATE TABLE refund (id int)")
    look(night)
    look(night)
    (told,) = hook.alerts()
    assert told.summary == "shop: a table is new in the source and not loaded: public.refund"


@pytest.mark.endurance
def test_a_night_tells_of_it_and_loads_all_the_same(night: Night, hook: Hook) -> None:
    night.platform.source("shop", SHOP, "source: shop\ntables: {item: {}}\n")
    assert night.etl(next_run()).code == 0
    night.ask("shop", "CREATE TABLE refund (id int)")
    assert night.etl(next_run()).code == 0
    assert hook.received() == [("notice", "new/shop")]
    # What is out of reach of this is no failure of the night's.
    night.ask("warehouse", "DROP TABLE ops.source_relation")
    assert night.etl(next_run()).code == 0
