"""One login to Vault for a step, another for the short questions between steps."""

import os

from pipeline import access, extract
from tests.night import Night, next_run


def test_a_forked_process_does_not_end_the_login_of_its_parent(night: Night) -> None:
    """Luigi forks for each task; the child's own questions must leave the parent's login as it is."""
    night.platform.source(
        "shop", "CREATE TABLE item (id int PRIMARY KEY)", "source: shop\ntables: {item: {}}\n"
    )
    table, run = night.table("shop", "item"), next_run()
    extract.is_extracted(night.settings, table, run)
    ours = access.brief(night.settings)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            extract.is_extracted(night.settings, table, run)
            access.end_brief()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert access.brief(night.settings) is ours
    # A secret that was not asked for before: only a login that still holds can read it.
    with ours.source("shop") as connection:
        assert not connection.closed
