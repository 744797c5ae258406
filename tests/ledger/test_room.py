"""The ledger is one room: nobody else names a table of the schema ops."""

import re
from pathlib import Path

import pytest

from pipeline.names import RESERVED
from tests.support import source_code
from tests.support.source_code import TOP

ROOM = TOP / "pipeline" / "ledger"
A_TABLE = re.compile(r"\bops\s*\.\s*\"?[a-z_]", re.IGNORECASE)
PATHS = source_code.modules()


def is_of_the_ledger(path: Path) -> bool:
    return path.is_relative_to(ROOM)


def texts(path: Path) -> set[str]:
    """Return the strings of a module, among them the names of the SQL files that it asks for."""
    return {text for _, text in source_code.texts(source_code.parsed(path))}


def test_no_other_room_names_a_table_of_the_ledger() -> None:
    assert "ops" in RESERVED
    found = {
        str(path.relative_to(TOP)): [text for text in texts(path) if A_TABLE.search(text)]
        for path in PATHS
        if not is_of_the_ledger(path)
    }
    assert {name: here for name, here in found.items() if here} == {}


def test_no_other_room_asks_by_a_file_of_sql_that_names_a_table_of_the_ledger() -> None:
    theirs = {path for path in (TOP / "pipeline").rglob("*.sql") if A_TABLE.search(path.read_text())}
    assert len(theirs) > 10
    assert not [path for path in theirs if not is_of_the_ledger(path)]


def test_a_room_asks_by_its_own_files_of_sql_and_by_those_of_the_driver() -> None:
    files = (TOP / "pipeline").glob("*/sql/*.sql")
    kept = {f"{path.parts[-3]}/{path.stem}" for path in files if "sandbox" not in path.parts}
    asked = {(path.relative_to(TOP).parts[1], name) for path in PATHS for name in texts(path) & kept}
    assert {name for _, name in asked} == kept, "nobody asks for the others"
    assert {(room, name) for room, name in asked if name.partition("/")[0] not in (room, "postgres")} == set()


@pytest.mark.parametrize(
    "text",
    ["SELECT 1 FROM ops.step", "INSERT INTO ops.run AS r", 'FROM ops."step"', "'ops.watermark'::regclass"],
)
def test_a_statement_that_names_one_is_found(text: str) -> None:
    assert A_TABLE.search(text)
