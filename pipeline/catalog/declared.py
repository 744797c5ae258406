"""What all classes that analysts write have in common: they are frozen, and know no key but their own."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, model_validator


class Declared(BaseModel):
    """A mapping of the YAML files.

    Where the validation's context is a dictionary, the keys that are known in each mapping are noted there
    under the mapping's id(), so that a misspelt key can be told with the one that was meant.
    """

    # The text below a key describes it in the JSON Schema, and so in editors: `schema` reads it.
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _note_keys(cls, data: Any, info: ValidationInfo) -> Any:
        if isinstance(info.context, dict) and isinstance(data, dict):
            info.context[id(data)] = sorted(field.alias or name for name, field in cls.model_fields.items())
        return data
