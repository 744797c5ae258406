"""Nothing temporary that hangs on a table is committed: of a session whose server crashes it would stay.

PostgreSQL drops what is temporary as its session ends, which a crash does not let it do. What is left holds
staged tables, and those that people read, until another session happens to take the place of that one.
"""

import pytest

from pipeline.loading import extract, load, validate
from pipeline.progress import Show
from tests.support.night import Night, next_run

# What is temporary, and depends on what is not, of whichever session.
HANGING = """
    SELECT DISTINCT temporary.relname FROM pg_class AS temporary
    JOIN pg_rewrite AS rule ON rule.ev_class = temporary.oid
    JOIN pg_depend AS hangs ON hangs.classid = 'pg_rewrite'::regclass AND hangs.objid = rule.oid
    JOIN pg_class AS held ON held.oid = hangs.refobjid AND held.relpersistence <> 't'
    WHERE temporary.relpersistence = 't'
    """
CHECKS = "[{sql: 'SELECT * FROM {table} WHERE id < 0'}, {rows: {min: 1}}]"
STATE = "{state: {accepted: {values: [open], quarantine: rows}}}"


@pytest.mark.parametrize("lost", [False, True])
def test_what_is_temporary_is_gone_before_a_step_is_committed(night: Night, *, lost: bool) -> None:
    night.platform.source(
        "shop",
        "CREATE TABLE orders (id int PRIMARY KEY, state text);"
        " INSERT INTO orders SELECT n, 'open' FROM generate_series(1, 9) AS n",
        f"source: shop\ntables: {{orders: {{checks: {CHECKS}, columns: {STATE}}}}}\n",
    )
    night.load("shop", "orders")
    night.ask("shop", "UPDATE orders SET state = %s WHERE id = 3", ("lost" if lost else "open",))
    night.ask("shop", "DELETE FROM orders WHERE id = 4")
    seen: list[tuple[str, list[tuple[str]]]] = []

    def seeing(step: str) -> Show:
        def look(percent: int | None, _: str) -> None:
            # Said once it is committed, while its session is still there.
            if percent == 100:
                seen.append((step, night.ask("warehouse", HANGING)))

        return look

    run, table, settings = next_run(), night.table("shop", "orders"), night.settings
    with night.snapshot("shop", run):
        extract.extract_table(settings, table, run, seeing("extract"))
    validate.validate_extract(settings, table, run, seeing("validate"))
    load.load_table(settings, table, run, seeing("load"))
    assert seen == [("extract", []), ("validate", []), ("load", [])]
