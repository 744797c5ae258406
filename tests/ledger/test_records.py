"""Records: what a step leaves is read with its types, whichever version left it, and by nobody else."""

import ast
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import pytest

from pipeline import ledger
from pipeline.catalog import RelationKind
from pipeline.dashboards.step import Applied
from pipeline.ledger.runs import Published
from pipeline.ledger.sources import Witness, Witnesses
from pipeline.loading.extracted import Extracted, Mode
from pipeline.loading.load import Loaded
from pipeline.loading.validate import Validated
from pipeline.marts.build import Built
from pipeline.postgres.snapshot import Snapshot
from pipeline.step import Record, StepKey
from pipeline.warehouse.shape import Shape
from tests.support import source_code
from tests.support.night import Night, next_run

MOMENT = datetime(2026, 11, 22, 2, 15, 7, 123456, tzinfo=UTC)
SNAPSHOT = Snapshot("00-1", "7:9:8", MOMENT, 7, 9, "42/5", 1, 2, "it was put back", ["process 3"])
EXTRACTED = Extracted(
    mode=Mode.INCREMENT,
    reason="",
    key=("id",),
    snapshot=SNAPSHOT,
    source_rows=5,
    deleted=1,
    gone_staged=True,
    staged_oid=4711,
    base=("2026-11-21", "2026-11-21T02:15:00+00:00"),
    cursor_value=None,
    shape=Shape(1, RelationKind.TABLE, ("id",), ()),
    renamed={"new": "old"},
    declared="digest",
    witnesses=Witnesses(1, 2, ["id"], [Witness("(0,1)", 7, -9)], "md5"),
)
LOADED = Loaded(
    mode=Mode.FIRST, reason="it is new", fresh_as_of=MOMENT, inserted=5, updated=0, deleted=0, total=5
)
BUILT = Built(digest="digest", mode="view", total=3, reads={"hr.employee": ["id"]})
RECORDS: list[Record] = [SNAPSHOT, EXTRACTED, Validated(4711, 0, 3), LOADED, BUILT, Applied("digest", 2)]
# What version 1 left of each, where that was less.
LESS: list[tuple[type[Record], dict[str, Any]]] = [
    (Published, {"mode": "full", "total": 3}),
    (Built, {"mode": "view", "total": 3, "digest": "digest"}),
    (Applied, {"digest": "digest"}),
    (Validated, {"staged_oid": 4711, "set_aside": 0}),
]
# What is no record of that kind.
OTHERS: list[tuple[type[Record], dict[str, Any]]] = [
    (Published, {}),
    (Snapshot, {"identifier": "00-1"}),
    (Extracted, {"mode": "full"}),
    (Extracted, {**EXTRACTED.to_json(), "snapshot": {"identifier": "00-1"}}),
]


def kept(night: Night, record: Record) -> Any:
    """Leave a record in the ledger, and return the step as it is read there."""
    key = StepKey(next_run(), "AnyTask", "shop.item")
    with night.warehouse() as warehouse:
        ledger.finish_step(warehouse, key, 5, record)
    return night.step(key.run, key.task, key.name)


@pytest.mark.parametrize("record", RECORDS, ids=lambda one: type(one).__name__)
def test_a_record_is_read_as_it_was_left(night: Night, record: Record) -> None:
    step = kept(night, record)
    assert type(record).of(step) == record
    assert step.detail.keys() == record.to_json().keys() <= {one.name for one in fields(record)}


@pytest.mark.parametrize("record", RECORDS, ids=lambda one: type(one).__name__)
def test_what_another_version_left_beside_it_does_not_matter(night: Night, record: Record) -> None:
    step = kept(night, record)
    assert type(record).from_json({**step.detail, "of_a_later_version": 1}) == record


@pytest.mark.parametrize(("kind", "data"), LESS)
def test_what_an_earlier_version_did_not_leave_has_a_default(
    kind: type[Record], data: dict[str, Any]
) -> None:
    found = kind.from_json(data)
    assert found is not None
    assert data.items() <= found.to_json().items()


@pytest.mark.parametrize(("kind", "data"), OTHERS)
def test_what_has_another_form_is_no_record(kind: type[Record], data: dict[str, Any]) -> None:
    assert kind.from_json(data) is None


def test_a_load_and_a_mart_are_read_as_what_they_have_in_common(night: Night) -> None:
    assert Published.of(kept(night, LOADED)) == Published(
        mode="first", total=5, inserted=5, updated=0, deleted=0
    )
    assert Published.of(kept(night, BUILT)) == Published(mode="view", total=3)


def test_a_mart_leaves_no_counts_that_it_does_not_have() -> None:
    """An earlier version, to which somebody goes back, counts whatever is there."""
    left = Built(mode="table", total=3, digest="d", reads={}).to_json()
    assert left == {"mode": "table", "total": 3, "quarantined": 0, "digest": "d", "reads": {}}


def test_nobody_reads_by_key_what_a_step_left() -> None:
    """A key that is misspelt would be found at night; a field is found by mypy."""
    found = [
        f"{file.relative_to(source_code.TOP)}:{node.lineno}"
        for file in source_code.modules()
        for node in source_code.walk(source_code.parsed(file))
        if isinstance(node, ast.Subscript | ast.Attribute)
        and isinstance(node.value, ast.Attribute)
        and node.value.attr == "detail"
    ]
    assert found == []
