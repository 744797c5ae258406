"""The JSON Schemas of what analysts write, for their editors: `python -m pipeline.catalog.schema [WHAT]`."""

import ast
import inspect
import itertools
import json
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from pipeline.catalog.dashboard_files.cards import DeclaredDashboard
from pipeline.catalog.source_files.tables import DeclaredSource

KINDS: dict[str, type[BaseModel]] = {"source": DeclaredSource, "dashboard": DeclaredDashboard}
DIALECT = "https://json-schema.org/draft/2020-12/schema"


class _Described(GenerateJsonSchema):
    """Describes each key by the text below it in our code.

    Pydantic does that too, but whenever a class is made, and reading the source of all takes a command longer
    than most of what it does.
    """

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        found = super().model_schema(schema)
        texts: dict[str, str] = {}
        for one in reversed(schema["cls"].__mro__):
            if issubclass(one, BaseModel) and one is not BaseModel:
                texts |= dict(_texts(one))
        for name, field in schema["cls"].model_fields.items():
            if name in texts:
                found["properties"][field.alias or name].setdefault("description", texts[name])
        return found


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
    found: dict[str, Any] = _tidied(generated)
    return {"$schema": DIALECT, **found}


def text(kind: str = "source") -> str:
    """Return the JSON Schema as it is published."""
    return json.dumps(schema(kind), indent=2, ensure_ascii=False) + "\n"


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
    sys.stdout.write(text(*sys.argv[1:2]))
