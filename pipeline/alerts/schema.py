"""The JSON Schema of an alert, for who receives one: `python -m pipeline.alerts.schema`."""

import json
import sys
from typing import Any

from pipeline.alerts.message import Alert

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """Return the JSON Schema of an alert."""
    generated = Alert.model_json_schema(mode="serialization")
    generated["description"] = "A message to a webhook: something failed, or has recovered."
    for described in generated["properties"].values():
        described.pop("title", None)
        described.pop("default", None)
    # Every key is always there.
    return {"$schema": DIALECT, **generated, "required": list(generated["properties"])}


def schema_text() -> str:
    """Return the JSON Schema as it is published."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text())
