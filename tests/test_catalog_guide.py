"""docs/analysts.md: its examples are valid, and it leaves no key and no kind of drift out."""

import re
from pathlib import Path

import pytest

from pipeline import catalog
from pipeline.catalog import document, schema
from pipeline.loading.shapes import drift

PROJECT = Path(__file__).parents[1]
GUIDE = (PROJECT / "docs" / "analysts.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", GUIDE, re.DOTALL)
FILES = [text for language, text in BLOCKS if language == "yaml" and "\n" in text.strip()]
MART = next(text for language, text in BLOCKS if language == "sql")


@pytest.mark.parametrize("text", FILES, ids=lambda text: text.splitlines()[0])
def test_the_examples_are_valid(tmp_path: Path, text: str) -> None:
    written = document.parse(text).value
    for folder in ("sources", "marts", "dashboards"):
        (tmp_path / folder).mkdir()
    hr = "source: hr\ntables: {employee: , department: }\n"
    (tmp_path / "sources" / "hr.yaml").write_text(hr)
    (tmp_path / "marts" / "staff.sql").write_text(MART)
    place = f"sources/{written['source']}.yaml" if "source" in written else "dashboards/staff.yaml"
    (tmp_path / place).write_text(text)
    assert catalog.read_repository(tmp_path).catalog.marts["staff"].materialize == "table"


def test_the_table_of_drift_is_that_of_the_code() -> None:
    section = GUIDE.partition("### Drift")[2].partition("\n## ")[0]
    told = dict(re.findall(r"^\| `(\w+)` \|[^|]*\| `(\w+)` \|$", section, re.MULTILINE))
    assert told == dict(drift.DEFAULT_ACTIONS)
    assert set(told) == set(catalog.DriftKind)


def test_every_key_is_in_the_guide() -> None:
    """A key that nobody can read about is as good as none."""
    found = schema.schema()
    models = [*found["$defs"].values(), found]
    keys = {key for model in models for key in model["properties"]}
    missing = [key for key in keys if not re.search(rf"\b{key}\b", GUIDE)]
    assert missing == []
