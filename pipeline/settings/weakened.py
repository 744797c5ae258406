"""What luigi.cfg says of Luigi that makes a night less safe than our defaults do."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pipeline.settings import ini
from pipeline.settings.luigi_defaults import LUIGI
from pipeline.settings.places import settings_files


def weakened(
    paths: Sequence[Path] | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Yield each such value with its place, ours, and what it costs. Raise SettingsError without files."""
    environment = os.environ if environment is None else environment
    sections = ini.read(settings_files(environment) if paths is None else paths, [])
    for name, section in sections.items():
        for key, entry in section.entries.items():
            default = LUIGI.get(name, {}).get(key.replace("-", "_"))
            value, missing = ini.expand(entry.value, environment)
            if default is not None and not missing and default.weakened_by(value):
                yield (
                    f"{entry.place}: [{name}] {key} = {value}, and not {default.value}: {default.cost}; "
                    "remove the line"
                )
