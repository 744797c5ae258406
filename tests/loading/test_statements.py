"""A small table that has not changed costs few statements: of many of them that is most of a night."""

from collections.abc import Callable
from typing import Any

import pytest

from pipeline import access, postgres
from pipeline.loading import extract, load, snapshot_holder, validate
from pipeline.postgres import failures
from tests.support.night import Night, next_run

# What the warehouse is asked for by one question whether a step is done.
QUESTIONS: dict[str, tuple[Callable[..., bool], int]] = {
    "the ledger, the staged table, its rows": (extract.is_extracted, 3),
    "the same, and whether there is what was set aside": (validate.is_validated, 4),
    "the ledger, the table": (load.is_loaded, 2),
}
# What all steps of a table ask of the warehouse and of the source, with the questions before and after each.
# BEGIN, COMMIT and COPY are the driver's own and not among them.
MOST_STATEMENTS = 95


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Gather what is asked of any server from now on."""
    statements: list[str] = []
    execute = failures.Cursor.execute

    def note(cursor: failures.Cursor, query: Any, *arguments: Any) -> Any:
        statements.append(query if isinstance(query, str) else query.as_string(cursor))
        return execute(cursor, query, *arguments)

    monkeypatch.setattr(failures.Cursor, "execute", note)
    return statements


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Gather the names of the servers to which a session is opened from now on."""
    names: list[str] = []
    open_session = postgres.open_session

    def note(uri: str, name: str, **more: Any) -> Any:
        names.append(name)
        return open_session(uri, name, **more)

    monkeypatch.setattr(postgres, "open_session", note)
    return names


@pytest.fixture
def shop(night: Night) -> Night:
    night.platform.source(
        "shop",
        "CREATE TABLE item (id int PRIMARY KEY); INSERT INTO item SELECT * FROM generate_series(1, 9)",
        "source: shop\ntables: {item: {}}\n",
    )
    night.load("shop", "item")
    return night


def test_a_table_that_has_not_changed_costs_few_statements_and_one_session_of_its_source(
    shop: Night, asked: list[str], opened: list[str]
) -> None:
    run, table = next_run(), shop.table("shop", "item")
    settings = shop.settings
    with shop.snapshot("shop", run):
        # As Luigi does: what a step requires is looked at before, and whether it is done after it.
        asked.clear()
        opened.clear()
        with access.one_step():
            assert snapshot_holder.held(settings, "shop", run)
            extract.extract_table(settings, table, run)
            assert extract.is_extracted(settings, table, run)
        with access.one_step():
            assert extract.is_extracted(settings, table, run)
            validate.validate_extract(settings, table, run)
            assert validate.is_validated(settings, table, run)
        with access.one_step():
            assert validate.is_validated(settings, table, run)
            load.load_table(settings, table, run)
            assert load.is_loaded(settings, table, run)
    assert len(asked) <= MOST_STATEMENTS, "\n".join(f"{n} {one.strip()}" for n, one in enumerate(asked, 1))
    assert sorted(opened) == ["source shop", "the warehouse", "the warehouse"]


def test_whether_a_step_is_done_is_told_by_few_statements(shop: Night, asked: list[str]) -> None:
    run, table = next_run(), shop.table("shop", "item")
    shop.extract("shop", run, "item")
    validate.validate_extract(shop.settings, table, run)
    for what, (question, most) in QUESTIONS.items():
        if question is load.is_loaded:
            load.load_table(shop.settings, table, run)
        asked.clear()
        assert question(shop.settings, table, run)
        assert len(asked) <= most, (what, asked)
