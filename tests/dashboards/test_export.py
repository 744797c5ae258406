"""Dashboards as Metabase's own files: portable, always the same, and without what is held back."""

import dataclasses
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline import dashboards
from pipeline.catalog.dashboard_files.board import Reach
from pipeline.errors import StepError, UsageError
from tests.dashboards.surfaces import BY_PROGRAMME, ENROLMENT, HEADS, STAFF, Surface, with_card


def exported(surface: Surface, folder: Path) -> dict[str, Any]:
    """Export what is declared, and return the files by their names."""
    dashboards.export(surface.settings, surface.declared, folder)
    files = sorted(folder.rglob("*.yaml"))
    return {str(path.relative_to(folder)): YAML(typ="safe").load(path) for path in files}


def test_an_export_names_things_and_columns_and_is_the_same_each_time(
    surface: Surface, tmp_path: Path
) -> None:
    """It asks no Metabase. What is called as another thing has a file of its own."""
    twice = dataclasses.replace(STAFF, name="again")
    surface.declared = [
        ENROLMENT,
        with_card(STAFF, HEADS, HEADS, dataclasses.replace(HEADS, title="Staff")),
        twice,
    ]
    files = exported(surface, tmp_path / "one")
    assert surface.metabase.requests == []
    assert files == exported(surface, tmp_path / "two")
    inside = "collections/main/school"
    assert {path for path in files if path.startswith(f"{inside}/staff")} == {
        f"{inside}/staff.yaml",
        f"{inside}/staff/all_departments.yaml",
        f"{inside}/staff/heads.yaml",
        f"{inside}/staff/staff.yaml",
        f"{inside}/staff/staff_2.yaml",
        f"{inside}/staff_2.yaml",
        f"{inside}/staff_2/all_departments.yaml",
        f"{inside}/staff_2/heads.yaml",
        f"{inside}/staff_2/staff.yaml",
    }
    ids = [one["entity_id"] for one in files.values()]
    assert len(set(ids)) == len(ids)
    card = files[f"{inside}/enrolment/students_by_programme.yaml"]
    board = files[f"{inside}/enrolment/enrolment.yaml"]
    assert card["collection_id"] == board["collection_id"] == files[f"{inside}/enrolment.yaml"]["entity_id"]
    tag = card["dataset_query"]["stages"][0]["template-tags"][0]
    assert tag["dimension"] == ["field", {}, ["Warehouse", "mart", "enrolment", "programme"]]
    placed = next(one for one in board["dashcards"] if one["card_id"] == card["entity_id"])
    chosen = {one["id"]: one["slug"] for one in board["parameters"]}
    assert {chosen[one["parameter_id"]]: one["target"] for one in placed["parameter_mappings"]} == {
        "programme": ["dimension", ["template-tag", "programme"]],
        "intake": ["dimension", ["template-tag", "intake"]],
        "words": ["variable", ["template-tag", "words"]],
    }


def test_a_filter_of_numbers_is_exported_as_one(surface: Surface, tmp_path: Path) -> None:
    reach = (*BY_PROGRAMME.reach, Reach("students", "students", "mart.enrolment"))
    board = with_card(ENROLMENT, BY_PROGRAMME, dataclasses.replace(BY_PROGRAMME, reach=reach))
    number = dataclasses.replace(ENROLMENT.filters[0], name="students", column="students", default=("7",))
    surface.declared = [dataclasses.replace(board, filters=(*board.filters, number))]
    files = exported(surface, tmp_path / "export")
    parameters = files["collections/main/school/enrolment/enrolment.yaml"]["parameters"]
    assert [
        (one["slug"], one["type"], one.get("default")) for one in parameters if one["slug"] == "students"
    ] == [("students", "number/=", [7])]


def referred(value: Any, key: str = "") -> Iterator[str]:
    """Yield the entity ids by which a file names things; a user and a database are named otherwise."""
    if isinstance(value, dict):
        for name, one in value.items():
            yield from (each["id"] for each in one) if name == "serdes/meta" else referred(one, name)
    elif isinstance(value, list):
        for one in value:
            yield from referred(one, key)
    elif key.endswith("_id") and key not in ("creator_id", "entity_id", "parameter_id") and value is not None:
        yield value


def made(value: Any) -> Iterator[str]:
    """Yield the entity ids that a file gives."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if isinstance(value, dict) and "entity_id" in value:
        yield value["entity_id"]
    for one in inside:
        yield from made(one)


def test_whatever_an_exported_file_refers_to_is_exported(surface: Surface, tmp_path: Path) -> None:
    files = exported(surface, tmp_path / "export")
    ids = [one for content in files.values() for one in made(content)]
    names = {one for content in files.values() for one in referred(content)}
    assert len(ids) == len(set(ids))
    assert names == set(ids), "and each is named, if only by itself"
    boards = [one for one in files.values() if "dashcards" in one]
    for board in boards:
        mappings = [one for card in board["dashcards"] for one in card["parameter_mappings"]]
        assert {one["parameter_id"] for one in mappings} == {one["id"] for one in board["parameters"]}


def test_an_export_that_ends_half_way_leaves_nothing_and_can_be_made_again(
    surface: Surface, tmp_path: Path
) -> None:
    folder, configured = tmp_path / "out" / "export", surface.settings
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
        with pytest.raises(StepError, match="export: cannot be written: File too large; make room, or name"):
            dashboards.export(configured, surface.declared, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert list(folder.parent.iterdir()) == []
    folder.mkdir()
    before = folder.stat().st_ino
    assert exported(surface, folder)
    assert folder.stat().st_ino == before, "who stands in it stands in what was written"
    assert [one.name for one in folder.iterdir()] == ["collections"]
    assert list(folder.parent.iterdir()) == [folder]


def test_what_is_held_back_is_not_exported_and_a_folder_with_something_in_it_is_left_alone(
    surface: Surface, tmp_path: Path
) -> None:
    folder = tmp_path / "export"
    broken = with_card(STAFF, HEADS, dataclasses.replace(HEADS, sql="SELECT heads FROM mart.gone"))
    outcome = dashboards.export(surface.settings, [ENROLMENT, broken], folder)
    assert ["Heads" in problem for problem in outcome.problems] == [True]
    assert not list(folder.rglob("*staff*"))
    with pytest.raises(UsageError, match="is not empty; name another folder"):
        dashboards.export(surface.settings, [ENROLMENT], folder)
