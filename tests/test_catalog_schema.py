"""The published JSON Schemas: they are current, and say of a file what the catalog says of its form."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pipeline.catalog import document, schema
from pipeline.catalog.source_files.tables import DeclaredSource
from pipeline.catalog.source_files.validation import validated

PROJECT = Path(__file__).parents[1]
EXAMPLES = PROJECT / "examples" / "analysts"

EVERYTHING = """\
source: hr
defaults: {schema: public, changes: xmin, deletes: hard, quarantine: rows, drift: {type: block}}
tables:
  department: {changes: full, history: true}
  employee:
    table: Employee
    key: [id]
    max_deleted: 20%
    columns:
      national_id: {mask: hash}
      iban: {mask: null}
      place: {type: text, renamed_from: town}
      email: {null_rate: {max: 0.02, level: warn}}
      phone: {null_rate: 50%}
      grade: {accepted: [a, 2, true]}
      state: {accepted: {values: [a], quarantine: rows}}
      hired_on: {range: {min: 1990-01-01}}
      nothing:
    drift: {dropped: block}
    checks:
      - rows: {min: 1, change: 50%}
      - unique: [staff_number]
      - unique: email
        quarantine: rows
      - sql: select * from {table} where hired_on > current_date
      - freshness: {column: updated_at, max_age: 2 days}
      - relationship: {columns: a, to: department, to_columns: [b]}
  ticket: {changes: cursor, cursor: updated_at, lookback: 15 minutes}
  note:
"""


def errors(text: str, kind: str = "source") -> list[str]:
    """Return what an editor with the schema would mark in a file."""
    # An editor has no dates: it sees the text.
    data: Any = json.loads(json.dumps(document.parse(text).value, default=str))
    validator = jsonschema.Draft202012Validator(schema.schema(kind))
    return [error.message for error in validator.iter_errors(data)]


def test_every_document_says_of_the_models_what_they_are() -> None:
    """Run `python -m pipeline.catalog.schema` after a change of the models, or of a kind of check."""
    assert [file.name for file, text in schema.documents().items() if file.read_text() != text] == []


@pytest.mark.parametrize("kind", schema.KINDS)
def test_the_published_schema_is_a_schema(kind: str) -> None:
    jsonschema.Draft202012Validator.check_schema(schema.schema(kind))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*/*.yaml")), ids=lambda path: path.name)
def test_the_examples_are_accepted(path: Path) -> None:
    assert errors(path.read_text(), path.parent.name.removesuffix("s")) == []


@pytest.mark.parametrize(
    "text",
    [EVERYTHING, 'source: hr\ntables: "*"\n', 'source: hr\ntables: {"*": {deletes: soft}, a: }\n'],
    ids=["everything", "a star", "a star and more"],
)
def test_everything_that_can_be_written_is_accepted(text: str) -> None:
    assert errors(text) == []
    assert validated(document.parse(text), DeclaredSource)[1] == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("mask: hash", "mask: hahs"),
        ("mask: hash", "maks: hash"),
        ("max_deleted: 20%", "max_deleted: 20"),
        ("max_deleted: 20%", "max_deleted: 20 percent"),
        ("null_rate: 50%", "null_rate: lots"),
        ("null_rate: {max: 0.02, level: warn}", "null_rate: {maximum: 0.02}"),
        ("lookback: 15 minutes", "lookback: 15"),
        ("lookback: 15 minutes", "lookback: 1 month"),
        ("unique: [staff_number]", "uniq: [staff_number]"),
        ("unique: [staff_number]", "unique: []"),
        ("drift: {dropped: block}", "drift: {droped: block}"),
        ("drift: {dropped: block}", "drift: {dropped: stop}"),
        ("type: text", "type: varchar"),
        ("accepted: [a, 2, true]", "accepted: []"),
        ("quarantine: rows}}", "quarantine: row}}"),
        ("rows: {min: 1, change: 50%}", "rows: {min: many}"),
        ("source: hr\n", ""),
        # YAML 1.2 takes these for words; so must both.
        ("history: true", "history: no"),
        ("history: true", "history: yes"),
        ("history: true", "history: 1"),
    ],
)
def test_a_mistake_is_marked_in_the_editor_and_refused_by_validate(right: str, wrong: str) -> None:
    assert right in EVERYTHING
    spoiled = EVERYTHING.replace(right, wrong)
    assert errors(spoiled)
    assert validated(document.parse(spoiled), DeclaredSource)[1]


def test_every_key_is_described() -> None:
    """The description is what an editor shows when the mouse rests on a key."""
    for kind in schema.KINDS:
        found = schema.schema(kind)
        for name, model in {**found["$defs"], "the file": found}.items():
            for key, said in model["properties"].items():
                assert said.get("description"), f"{name}.{key}"
