"""What documents take from the models of the analysts' files: `python -m pipeline.catalog.schema` writes it.

That is docs/KIND.schema.json, for editors, and the lists of the kinds of checks in the guide and the README.
"""

import ast
import inspect
import itertools
import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from pipeline.catalog.check_kinds import KINDS as CHECK_KINDS
from pipeline.catalog.dashboard_files.cards import DeclaredDashboard
from pipeline.catalog.source_files.tables import DeclaredSource

KINDS: dict[str, type[BaseModel]] = {"source": DeclaredSource, "dashboard": DeclaredDashboard}
DIALECT = "https://json-schema.org/draft/2020-12/schema"
PROJECT = Path(__file__).parents[2]
GUIDE_HEAD = "| check | holds if |\n|---|---|\n"
README_HEAD = "| `checks` | "
README_END = ", each with `level: error` (default) or `warn` beside it |"


class _Described(GenerateJsonSchema):
    """Describes each key by the text below it in our code.

    Pydantic does that too, but whenever a class is made, and reading the source of all takes a command longer
    than most of what it does.
    """

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        described = super().model_schema(schema)
        texts: dict[str, str] = {}
        for one in reversed(schema["cls"].__mro__):
            if issubclass(one, BaseModel) and one is not BaseModel:
                texts |= dict(_texts(one))
        for name, field in schema["cls"].model_fields.items():
            if name in texts:
                described["properties"][field.alias or name].setdefault("description", texts[name])
        return described


def _texts(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """Yield the fields of a class's own body that have a text below them, each with it."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(body, ast.ClassDef)  # noqa: S101 - the source of a class
    for field, text in itertools.pairwise(body.body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words))):
                yield name, inspect.cleandoc(words)


def schema(kind: str = "source") -> dict[str, Any]:
    """Return the JSON Schema of sources/NAME.yaml, or of dashboards/NAME.yaml."""
    generated = KINDS[kind].model_json_schema(by_alias=True, mode="validation", schema_generator=_Described)
    generated["title"] = f"{kind}s/NAME.yaml"
    document: dict[str, Any] = _tidied(generated)
    return {"$schema": DIALECT, **document}


def text(kind: str = "source") -> str:
    """Return the JSON Schema as it is published."""
    return json.dumps(schema(kind), indent=2, ensure_ascii=False) + "\n"


def documents() -> dict[Path, str]:
    """Return each document that says something of the models, with its whole text as it should be."""
    docs, readme = PROJECT / "docs", PROJECT / "README.md"
    guide = docs / "analysts.md"
    rows = "\n".join(f"| `{kind.usage}` | {kind.holds_if} |" for kind in CHECK_KINDS.values())
    usages = ", ".join(f"`{kind.usage}`" for kind in CHECK_KINDS.values())
    return {
        **{docs / f"{kind}.schema.json": text(kind) for kind in KINDS},
        guide: _with(guide.read_text(), GUIDE_HEAD, rows, "\n\n"),
        readme: _with(readme.read_text(), README_HEAD, usages, README_END),
    }


def _with(document: str, head: str, part: str, end: str) -> str:
    """Return a document with another part between two of its lines' texts, which are there once."""
    where = re.compile(f"({re.escape(head)}).*?({re.escape(end)})", re.DOTALL)
    changed, times = where.subn(lambda match: f"{match[1]}{part}{match[2]}", document)
    assert times == 1, head  # noqa: S101 - a document of this project
    return changed


def _tidied(node: Any, *, named: bool = False) -> Any:
    """Leave out what only a program would want to know; `named` where keys are names and not keywords."""
    if isinstance(node, list):
        return [_tidied(each) for each in node]
    if not isinstance(node, dict):
        return node
    if not named:
        node = _without_noise(node)
    return {
        key: _tidied(value, named=not named and key in ("properties", "$defs")) for key, value in node.items()
    }


def _without_noise(node: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in node.items() if key not in ("title", "default", "discriminator")}
    if "title" in node and "$defs" in node:
        kept["title"] = node["title"]
    options = kept.get("anyOf", [])
    # A key that is there has a value, but for masks, columns and tables, of which YAML's null says something.
    if {"type": "null"} in options and not _null_speaks(options):
        options = [option for option in options if option != {"type": "null"}]
        kept = {**kept, "anyOf": options}
        if len(options) == 1:
            del kept["anyOf"]
            kept = {**options[0], **kept}
    # An editor offers properties, and not what a pattern for their names allows.
    if "propertyNames" in kept and "enum" in kept["propertyNames"]:
        names, value = kept.pop("propertyNames")["enum"], kept.pop("additionalProperties")
        kept |= {"properties": dict.fromkeys(names, value), "additionalProperties": False}
    return kept


def _null_speaks(options: list[dict[str, Any]]) -> bool:
    return any(
        "null" in option.get("enum", ()) or option.get("$ref", "").endswith(("/Column", "/DeclaredTable"))
        for option in options
    )


if __name__ == "__main__":
    for file, content in documents().items():
        file.write_text(content)
