"""The ledger is one room: nobody else names a table of the schema ops."""

import ast
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


def statements(path: Path) -> set[str]:
    """Return the names of the SQL files that a module asks for."""
    return {
        str(one.args[0].value)
        for one in ast.walk(source_code.parsed(path))
        if isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute) and one.func.attr == "statement"
        if one.args and isinstance(one.args[0], ast.Constant)
    }


def test_no_other_room_names_a_table_of_the_ledger() -> None:
    assert "ops" in RESERVED
    found = {
        str(path.relative_to(TOP)): [
            text for _, text in source_code.texts(source_code.parsed(path)) if A_TABLE.search(text)
        ]
        for path in PATHS
        if not is_of_the_ledger(path)
    }
    assert {name: here for name, here in found.items() if here} == {}


def test_no_other_room_asks_by_a_file_of_sql_that_names_a_table_of_the_ledger() -> None:
    theirs = {path.stem for path in (TOP / "pipeline").rglob("*.sql") if A_TABLE.search(path.read_text())}
    assert len(theirs) > 10
    asked = {
        str(path.relative_to(TOP)): statements(path) & theirs for path in PATHS if not is_of_the_ledger(path)
    }
    assert {name: here for name, here in asked.items() if here} == {}
    assert theirs <= set().union(*(statements(path) for path in PATHS if is_of_the_ledger(path)))


@pytest.mark.parametrize(
    "text",
    ["SELECT 1 FROM ops.step", "INSERT INTO ops.run AS r", 'FROM ops."step"', "'ops.watermark'::regclass"],
)
def test_a_statement_that_names_one_is_found(text: str) -> None:
    assert A_TABLE.search(text)
