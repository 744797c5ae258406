"""docs/failures.md: behind each of its lines stands a test that is there."""

import re
from pathlib import Path

from tests.support.source_code import functions

PROJECT = Path(__file__).parents[1]
GUIDE = PROJECT / "docs" / "failures.md"


def test_each_line_of_the_guide_names_tests_that_exist() -> None:
    rows = [line for line in GUIDE.read_text().splitlines() if line.startswith("| ")]
    rows = [row for row in rows if not row.startswith("| failure ")]
    assert len(rows) > 25
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row.rsplit("|", 2)[1])
        assert named, row
        for path, name in named:
            assert name in functions(PROJECT / path), f"{path}::{name}: {row}"
