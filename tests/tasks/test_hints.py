"""What a person is told of a failure: what to fix, then what to type. What no second try fixes gets none."""

import json
from urllib.parse import urlsplit

import pytest

from pipeline.errors import CheckError, PipelineError, StepError
from tests.support.night import Night, next_run

# Each takes seconds.
pytestmark = pytest.mark.endurance

SHOP = "CREATE TABLE item (id int PRIMARY KEY); INSERT INTO item SELECT generate_series(1, 3);"


def attempts(night: Night) -> int:
    """How many numbers were given to attempts at steps of this warehouse."""
    return int(night.value("warehouse", "SELECT last_value FROM ops.step_attempt"))


def test_a_wrong_password_is_told_with_its_entry_in_vault_and_not_tried_again(night: Night) -> None:
    night.platform.source("shop", SHOP, "source: shop\ntables: {item: {}}\n")
    vault, entry = night.platform.sandbox.vault, f"source/{night.platform.database('shop')}"
    kept = vault.read(entry)
    assert kept is not None
    secret = urlsplit(kept["uri"])
    assert secret.password
    vault.write(entry, {"uri": kept["uri"].replace(secret.password, "wrong")})
    run = next_run()
    ended = night.etl(run)
    assert ended.code == 5, ended.err
    next_step = (
        f"check that its server runs and accepts this login, or correct uri in the entry {entry} of Vault"
    )
    assert f"{next_step}, then pipeline rerun --run {run} shop" in ended.err + ended.out
    # The hint stands there once, and not in the error as well.
    lines = (ended.out + ended.err).splitlines()
    told = [line for line in lines if line.startswith("shop: OpenSnapshot failed")]
    assert len(told) == 1, lines
    assert next_step not in told[0]
    assert (ended.out + ended.err).count("password authentication failed") == 1, lines
    assert attempts(night) == 1
    step = next(
        one for one in json.loads(night.run("status", "--json").out)["steps"] if one["name"] == "shop"
    )
    assert step["hint"] == next_step
    assert step["next"] == f"pipeline rerun --run {run} shop"
    vault.write(entry, kept)
    again = night.run("rerun", "--run", run)
    assert again.code == 0, again.err


def test_a_table_that_is_not_there_is_told_with_the_file_and_tried_once(night: Night) -> None:
    night.platform.source("shop", SHOP, "source: shop\ntables: {item: {}, itm: {}}\n")
    run = next_run()
    ended = night.etl(run)
    assert ended.code == 3, ended.err
    hint = 'correct its schema or table in sources/shop.yaml (the source has "item"), or remove itm there, '
    assert f"next: {hint}" in ended.err + ended.out
    # A number for its begin; and of each step that was done, one more for its end.
    done = night.value("warehouse", "SELECT count(*) FROM ops.step WHERE state = 'done'")
    assert attempts(night) == 2 * done + 1


def test_an_error_keeps_hint_and_whether_it_may_be_tried_again_through_every_name() -> None:
    error: PipelineError = StepError("it is not there", hint="correct the file", retryable=False)
    named = error.named("item").named("shop.item")
    assert (str(named), named.fact) == (
        "shop.item: item: it is not there; correct the file",
        "shop.item: item: it is not there",
    )
    assert not named.retryable
    assert StepError("x").retryable
    assert not CheckError("x").retryable


def test_without_a_terminal_a_load_shows_our_lines_and_keeps_luigi_s_in_the_logs_folder(night: Night) -> None:
    night.platform.source("shop", SHOP, "source: shop\ntables: {item: {}}\n")
    run = next_run()
    ended = night.etl(run)
    assert ended.code == 0, ended.err
    for word in ("Worker(", "Informed scheduler", "logging disabled", "Luigi Execution Summary"):
        assert word not in ended.err, ended.err
    assert "3 rows (all) read in " in ended.err
    kept = (night.settings.logs.folder / run / "luigi.log").read_text()
    assert "Informed scheduler" in kept
    assert "3 rows (all) read in " in kept
