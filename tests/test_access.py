"""One login to Vault for a step, another for the short questions between steps."""

import gc
import multiprocessing

from pipeline import access
from pipeline.catalog import Table
from pipeline.loading import extract
from pipeline.settings import Settings
from tests.night import Night, next_run


def ask(settings: Settings, table: Table, run: str) -> None:
    extract.is_extracted(settings, table, run)
    # As a step that goes on for a while does by itself.
    gc.collect()


def test_a_forked_process_does_not_end_the_login_of_its_parent(night: Night) -> None:
    """Luigi forks for each task; the child's own questions must leave the parent's login as it is."""
    night.platform.source(
        "shop", "CREATE TABLE item (id int PRIMARY KEY)", "source: shop\ntables: {item: {}}\n"
    )
    question = (night.settings, night.table("shop", "item"), next_run())
    ask(*question)
    child = multiprocessing.get_context("fork").Process(target=ask, args=question)
    child.start()
    child.join()
    assert child.exitcode == 0
    # A secret that was not asked for before: only a login that still holds can read it.
    with access.brief(night.settings).source("shop") as connection:
        assert not connection.closed
