"""docs/guarantees.md: each of its sentences is held by a test that is there."""

import re

from pipeline.sandbox.home import PROJECT
from tests.support.source_code import functions

PAGE = PROJECT / "docs" / "guarantees.md"
HEADERS = ("| guaranteed", "| not guaranteed")


def test_each_sentence_of_the_page_names_tests_that_exist() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    rows = [row for row in rows if not row.startswith(HEADERS)]
    assert len(rows) > 30
    for row in rows:
        sentence, tests = row.strip("| ").rsplit(" | ", 1)
        assert sentence.endswith("."), row
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", tests)
        assert named, row
        for path, name in named:
            assert name in functions(PROJECT / path), f"{path}::{name}: {row}"


def test_the_readme_leads_to_the_page() -> None:
    assert "docs/guarantees.md" in (PROJECT / "README.md").read_text()
