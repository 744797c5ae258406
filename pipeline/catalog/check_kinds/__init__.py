"""The kinds of checks that a table or a mart can declare: each a module of this package.

A new kind is a new module with a subclass of `TableCheck`. The JSON Schema, what `validate` tells and how it
is looked at follow from that class.
"""

import importlib
import pkgutil
from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import Discriminator, Tag

from pipeline.catalog.check_kinds.kind import TableCheck
from pipeline.catalog.check_kinds.outcome import CANDIDATE, Result

__all__ = ["CANDIDATE", "KINDS", "Check", "Result", "TableCheck", "written"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

KINDS: dict[str, type[TableCheck]] = {
    check.kind: check for check in sorted(TableCheck.__subclasses__(), key=lambda check: check.kind)
}


def written(check: dict[str, Any]) -> list[tuple[type[TableCheck], Any]]:
    """Return the kinds whose keys are in a check as it is written, each with what is written below."""
    return [(kind, check[name]) for name, kind in KINDS.items() if name in check]


def _kind(value: Any) -> str | None:
    if isinstance(value, TableCheck):
        return value.kind
    if not isinstance(value, dict):
        return None
    named = [kind for kind in value if kind in KINDS]
    return named[0] if named else None


if TYPE_CHECKING:
    Check = TableCheck
else:
    Check = Annotated[
        Union[tuple(Annotated[kind, Tag(name)] for name, kind in KINDS.items())],  # noqa: UP007 - of as many
        Discriminator(_kind),
    ]
