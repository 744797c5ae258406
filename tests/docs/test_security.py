"""docs/security.md: each test that it names is there, and each "cannot" names one."""

import re

from pipeline.sandbox.home import PROJECT
from tests.support.source_code import functions

PAGE = PROJECT / "docs" / "security.md"
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def sections() -> dict[str, str]:
    """Return the text below each heading."""
    parts = re.split(r"^#+ (.+)$", PAGE.read_text(), flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def rows(text: str) -> list[str]:
    """Return the rows of the tables in a text, without their headings."""
    found = [line for line in text.splitlines() if line.startswith("| ")]
    return [row for row in found if not row.endswith(("| test |", "| test of what it cannot |"))]


def test_each_test_that_the_page_names_is_there() -> None:
    named = NAMED.findall(PAGE.read_text())
    assert len(named) > 50
    for path, name in named:
        assert name in functions(PROJECT / path), f"{path}::{name}"


def test_each_cannot_has_its_test() -> None:
    found = sections()
    tables = [title for title, text in found.items() if "cannot |" in text]
    assert len(tables) == 6
    for title in tables:
        for row in rows(found[title]):
            assert NAMED.search(row), f"{title}: {row}"


def test_the_readme_leads_to_the_page() -> None:
    assert "docs/security.md" in (PROJECT / "README.md").read_text()
