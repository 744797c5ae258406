"""`only:` lists the columns that are loaded: all others stay in the source, and leave the warehouse."""

from pathlib import Path

import pytest

from pipeline import catalog
from pipeline.errors import CheckError, ProblemsError, StepError
from tests.loading.test_where import declared, load, seen
from tests.support.night import Night

ITEMS = """
    CREATE TABLE item (id int PRIMARY KEY, name text, grade text, phone text, note text);
    INSERT INTO item SELECT n, 'item ' || n, 'a', '0' || n, 'x' FROM generate_series(1, 20) AS n;
"""


def columns(night: Night, name: str = "item") -> list[str]:
    query = """
        SELECT column_name FROM information_schema.columns
        WHERE table_schema = 'shop' AND table_name = %s AND column_name NOT LIKE '\\_%%' ORDER BY 1
        """
    return [column for (column,) in night.ask("warehouse", query, (name,))]


def test_only_listed_columns_are_loaded_and_new_ones_stay_in_the_source(night: Night) -> None:
    """The key comes along; what is not loaded may change as it likes, and may filter."""
    night.platform.source("shop", ITEMS, declared("only: [name, grade]", "where: note = 'x'"))
    load(night)
    assert columns(night) == ["grade", "id", "name"]
    night.ask("shop", "ALTER TABLE item ADD COLUMN salary int DEFAULT 5, ALTER phone TYPE varchar(90)")
    night.ask("shop", "ALTER TABLE item RENAME COLUMN phone TO mobile")
    night.ask("shop", "UPDATE item SET name = 'new' WHERE id = 1")
    assert load(night)[1] == (0, 1, 0, 20)
    assert columns(night) == ["grade", "id", "name"]
    assert seen(night) == "equal, 20 rows"


def test_a_column_that_is_listed_or_not_any_more_comes_and_goes_with_its_values(night: Night) -> None:
    night.platform.source("shop", ITEMS, declared("history: true"))
    load(night)
    night.platform.declare("shop", declared("history: true", "only: name"))
    assert load(night)[1][3] == 20
    assert columns(night) == ["id", "name"]
    assert night.value("warehouse", "SELECT count(to_jsonb(h) ->> 'phone') FROM shop.item_history h") == 0
    night.platform.declare("shop", declared("history: true", "only: [name, phone]"))
    load(night)
    assert columns(night) == ["id", "name", "phone"]
    assert night.value("warehouse", "SELECT count(phone) FROM shop.item") == 20
    assert load(night)[0] == "increment"


def test_a_mask_follows_a_column_that_was_not_listed_for_a_while(night: Night) -> None:
    night.platform.source("shop", ITEMS, declared("columns: {phone: {mask: 'null'}}"))
    load(night)
    for only in ("only: name", "only: [name, phone]"):
        night.platform.declare("shop", declared(only))
        load(night)
    assert columns(night) == ["id", "name", "phone"]
    assert night.value("warehouse", "SELECT count(phone) FROM shop.item") == 0


def test_a_listed_column_that_is_not_there_or_was_renamed_is_told(night: Night) -> None:
    night.platform.source("shop", ITEMS, declared("only: [name, grad]"))
    with pytest.raises(StepError, match=r'its only names column "grad".*did you mean grade\?'):
        night.load("shop", "item")
    night.platform.declare("shop", declared("only: [name, grade]"))
    load(night)
    night.ask("shop", "ALTER TABLE item RENAME COLUMN grade TO job_grade")
    with pytest.raises(CheckError, match="write 'renamed_from: grade' under job_grade"):
        night.load("shop", "item")
    accepted = declared("only: [name, job_grade]", "columns: {job_grade: {renamed_from: grade}}")
    night.platform.declare("shop", accepted)
    load(night)
    assert columns(night) == ["id", "job_grade", "name"]


def test_what_is_said_of_a_column_that_is_not_loaded_is_told_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "hr.yaml").write_text(
        "source: hr\ntables:\n  a:\n    key: id\n    only: [name, phone]\n    columns:\n"
        "      id: {range: {min: 1}}\n      grade: {accepted: [a]}\n      email: {mask: hash}\n"
        "      phone: {mask: exclude}\n    checks:\n      - unique: [id, number]\n"
    )
    with pytest.raises(ProblemsError) as raised:
        catalog.read(tmp_path)
    assert list(raised.value.problems) == [
        "sources/hr.yaml:8: tables.a.columns.grade.accepted: "
        "grade is not loaded; add it to only, or remove this",
        "sources/hr.yaml:10: tables.a.columns.phone.mask: phone is listed in only as well; remove one of the "
        "two",
        "sources/hr.yaml:12: tables.a.checks[0]: number is not loaded; add it to only, or remove this",
    ]
