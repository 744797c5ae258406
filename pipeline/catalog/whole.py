"""The whole of what is declared to be loaded and built."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

from pipeline.catalog.marts import Mart
from pipeline.catalog.source_files.tables import Source
from pipeline.errors import UsageError
from pipeline.names import advice


class Catalog(BaseModel):
    """All that the analysts' repository declares to be loaded and built."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    sources: Mapping[str, Source]
    marts: Mapping[str, Mart] = {}
    # File and line of each table, hr.employee, and mart, mart.staff. They change nothing of what is declared.
    places: Mapping[str, str] = Field(default={}, exclude=True, repr=False)

    def source(self, name: str) -> Source:
        """Return one source. Raise UsageError if it is not declared."""
        if name not in self.sources:
            raise UsageError(
                f"{name}: no such source ({advice(name, self.sources)})",
                hint=f"to add it, write sources/{name}.yaml",
            )
        return self.sources[name]

    def mart(self, name: str) -> Mart:
        """Return one mart. Raise UsageError if it is not declared."""
        if name not in self.marts:
            raise UsageError(
                f"{name}: no such mart ({advice(name, self.marts)})",
                hint=f"to add it, write marts/{name}.sql",
            )
        return self.marts[name]
