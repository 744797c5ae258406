"""What is set on a database itself, with values that may be credentials: encrypted with the roles, and not in
the manifest.

It is a comment in their file, which psql passes over: with `pg_restore --create` the dump brings the same.
"""

import json

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.backup.store.manifest import Setting
from pipeline.errors import CheckError

BEGIN = "-- Properties of the database: "


class Properties(BaseModel):
    """The settings of a database, each with its value, and its comment."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    settings: tuple[Setting, ...] = ()
    comment: str | None = None

    @property
    def names(self) -> tuple[Setting, ...]:
        """Return the settings without their values, for everybody to read."""
        return tuple(Setting(role=one.role, name=one.name) for one in self.settings)

    def value(self, setting: Setting) -> str | None:
        """Return what is set, None if it is not here; manifests of older versions have it themselves."""
        if setting.value is not None:
            return setting.value
        values = [one.value for one in self.settings if (one.role, one.name) == (setting.role, setting.name)]
        return values[0] if values else None

    def line(self) -> str:
        """Return the line of the file, in ASCII: nothing in a value ends it."""
        return BEGIN + json.dumps(self.model_dump())


def read(globals_sql: str) -> Properties:
    """Return what the file has; an older one has nothing. Raise CheckError if it cannot be read."""
    for line in globals_sql.split("\n"):
        if line.startswith(BEGIN):
            try:
                return Properties.model_validate_json(line.removeprefix(BEGIN))
            except ValidationError:
                # Not a word of it: it may hold credentials.
                raise CheckError(
                    "globals.sql: the properties of the database are not what this version can read",
                    hint="use another backup, or a newer version of this program",
                ) from None
    return Properties()
