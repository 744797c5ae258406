"""Reads luigi.cfg: finds it as Luigi does, and tells all that is wrong in it at once."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from pipeline import names
from pipeline.errors import SettingsError
from pipeline.settings import credentials, ini, luigi_names, places
from pipeline.settings.sections import (
    AlertSettings,
    AnalystsSettings,
    BackedUpSettings,
    BackupSettings,
    DrillSettings,
    LogSettings,
    MetabaseSettings,
    PgBackRestSettings,
    ReportSettings,
    RestoreSettings,
    RunSettings,
    SourceSettings,
    VaultSettings,
    VisualizerSettings,
    WarehouseSettings,
    WatchSettings,
)
from pipeline.settings.values import Auth
from pipeline.settings.whole import Settings

_SECTIONS: dict[str, type[BaseModel]] = {
    "vault": VaultSettings,
    "warehouse": WarehouseSettings,
    "run": RunSettings,
    "backup": BackupSettings,
    "pgbackrest": PgBackRestSettings,
    "restore": RestoreSettings,
    "drill": DrillSettings,
    "alerts": AlertSettings,
    "watch": WatchSettings,
    "visualizer": VisualizerSettings,
    "analysts": AnalystsSettings,
    "metabase": MetabaseSettings,
    "report": ReportSettings,
    "logs": LogSettings,
}
# [source.hr]: sections of which there are several, and the attribute that holds them.
_NAMED: dict[str, tuple[type[BaseModel], str]] = {
    "source": (SourceSettings, "sources"),
    "database": (BackedUpSettings, "databases"),
}
# Relative ones are taken from the folder of the file that says them, wherever the command is typed.
_PATH_KEYS = {
    "credential_file",
    "work_dir",
    "checkout",
    "config",
    "postgres_bin",
    "spool",
    "certificate",
    "key",
    "authority",
    "folder",
    "signers",
}
_PATHS_KEYS = {"recipients"}


def read(paths: Sequence[Path] | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of the files in `paths`, or of those that Luigi would read; later ones win.

    `environment` is what `${NAME}` is taken from (default: the process's own). Raise SettingsError, with all
    problems, if there is no settings file or anything is wrong in one.
    """
    environment = os.environ if environment is None else environment
    if paths is None:
        paths = places.settings_files(environment)
    problems: list[str] = []
    sections = ini.read(paths, problems)
    for name, section in sections.items():
        _refuse_credentials(name, section, problems)
    values = _Reader(environment, problems).settings(sections)
    if "vault" not in sections:
        problems.append(f"{paths[-1]}: [vault]: missing; write it with url, auth and the keys of that auth")
    if problems:
        raise SettingsError(problems)
    return Settings(**values)


def read_for_alerts(
    paths: Sequence[Path] | None = None, environment: Mapping[str, str] | None = None
) -> Settings | None:
    """Return as much of the settings as it takes to tell people that something is wrong, perhaps with these.

    None where even that cannot be had.
    """
    environment = os.environ if environment is None else environment
    problems: list[str] = []
    try:
        parsed = ini.read(places.settings_files(environment) if paths is None else paths, [])
        sections = {name: parsed[name] for name in ("vault", "alerts")}
        values = _Reader(environment, problems).settings(sections)
        warehouse = _Reader(environment, []).settings({n: s for n, s in parsed.items() if n == "warehouse"})
    except (SettingsError, KeyError):
        return None
    return None if problems else Settings(**{**warehouse, **values})


def _refuse_credentials(section_name: str, section: ini.Section, problems: list[str]) -> None:
    for key, entry in section.entries.items():
        named = credentials.key_names_credential(key) and entry.value
        if named or credentials.value_holds_credential(entry.value):
            problems.append(
                f"{entry.place}: [{section_name}] {key}: holds a credential; remove it here, change it, "
                "and keep the new one in Vault"
            )


class _SectionModel(NamedTuple):
    """What a section is for: its class, and the keys of `Settings` under which its value goes."""

    model: type[BaseModel]
    path: tuple[str, ...]


class _Reader:
    """Turns sections into the keyword arguments of Settings, and collects what is wrong with them."""

    def __init__(self, environment: Mapping[str, str], problems: list[str]) -> None:
        self.environment = environment
        self.problems = problems

    def settings(self, sections: Mapping[str, ini.Section]) -> dict[str, Any]:
        values: dict[str, Any] = {attribute: {} for _, attribute in _NAMED.values()}
        for name, section in sections.items():
            section_model = self._model_of(name, section)
            if section_model is None:
                continue
            value = self._value(name, section, section_model.model)
            target = values
            for key in section_model.path[:-1]:
                target = target[key]
            target[section_model.path[-1]] = value
        return values

    def _model_of(self, name: str, section: ini.Section) -> _SectionModel | None:
        if name in _SECTIONS:
            return _SectionModel(_SECTIONS[name], (name,))
        kind, _, own_name = name.partition(".")
        if kind in _NAMED and own_name:
            if problem := names.problem(own_name):
                self.problems.append(f"{section.place}: [{name}]: {problem}")
                return None
            model, attribute = _NAMED[kind]
            return _SectionModel(model, (attribute, own_name))
        self._check_not_ours(name, section)
        return None

    def _check_not_ours(self, name: str, section: ini.Section) -> None:
        if name in luigi_names.KEYS:
            for key, entry in section.entries.items():
                if key.replace("-", "_") not in luigi_names.KEYS[name]:
                    what = names.advice(key, luigi_names.KEYS[name])
                    self.problems.append(f"{entry.place}: [{name}] {key}: Luigi knows no such key; {what}")
        elif name not in luigi_names.SECTIONS:
            kind, dot, own_name = name.partition(".")
            known = list(_NAMED) if dot else [*_SECTIONS, *luigi_names.SECTIONS]
            # A task's own section is named after its class: [LoadWarehouse], [etl.LoadWarehouse].
            if name.rpartition(".")[2][:1].isupper() and kind.lower() not in known:
                return
            match = names.nearest(kind, known)
            what = f"did you mean [{match}{dot}{own_name}]?" if match else "remove it, or correct its name"
            self.problems.append(f"{section.place}: [{name}]: unknown section; {what}")

    def _value(self, name: str, section: ini.Section, model: type[BaseModel]) -> BaseModel | None:
        before = len(self.problems)
        data = {key: self._expanded(name, key, entry) for key, entry in section.entries.items()}
        by_jwt = model is VaultSettings and data.get("auth") == Auth.JWT
        if by_jwt and "NOMAD_SECRETS_DIR" in self.environment:
            usual = Path(self.environment["NOMAD_SECRETS_DIR"], "nomad_vault.jwt")
            data.setdefault("credential_file", str(usual))
        try:
            return model(**data)
        except ValidationError as error:
            unset = len(self.problems) > before
            for details in error.errors(include_input=False, include_url=False):
                self._add_problem(name, section, model, dict(details), unset=unset)
            return None

    def _expanded(self, name: str, key: str, entry: ini.Entry) -> str:
        value, missing = ini.expand(entry.value, self.environment)
        for variable in missing:
            self.problems.append(
                f"{entry.place}: [{name}] {key}: the environment variable {variable} is not set; "
                "export it, or write the value here"
            )
        if not missing and value != entry.value and credentials.value_holds_credential(value):
            self.problems.append(
                f"{entry.place}: [{name}] {key}: the environment variable holds a credential; "
                "keep it in Vault, and only the address in the environment"
            )
        folder = entry.path.absolute().parent
        if key in _PATHS_KEYS and not missing:
            return "\n".join(
                str(folder / Path(part).expanduser()) for part in re.split(r"[,\s]+", value) if part
            )
        if key in _PATH_KEYS and value and not missing:
            return str(folder / Path(value).expanduser())
        return value

    def _add_problem(
        self, name: str, section: ini.Section, model: type[BaseModel], error: dict[str, Any], *, unset: bool
    ) -> None:
        key = str(error["loc"][0]) if error["loc"] else ""
        entry = section.entries.get(key)
        if entry and unset and "${" in entry.value:
            return  # what is wrong with it was told: its variable is not set
        if error["type"] == "extra_forbidden" and credentials.key_names_credential(key):
            return  # told already
        place = entry.place if entry else section.place
        what = _what(error, model)
        self.problems.append(f"{place}: [{name}] {key}: {what}" if key else f"{place}: [{name}] {what}")


_MESSAGES = {
    "missing": "missing; write it here",
    "string_too_short": "is empty; write a value",
    "too_short": "needs {min_length} or more, separated by commas; add the missing ones",
    "literal_error": "must be {expected}; correct it",
    "int_parsing": "must be a whole number; correct it",
    "float_parsing": "must be a number; correct it",
    "greater_than_equal": "must be at least {ge}; correct it",
    "greater_than": "must be more than {gt}; correct it",
}


def _what(error: Mapping[str, Any], model: type[BaseModel]) -> str:
    if error["type"] == "extra_forbidden":
        return f"unknown key; {names.advice(str(error['loc'][0]), model.model_fields)}"
    if message := _MESSAGES.get(error["type"]):
        return message.format(**error.get("ctx", {})).replace("'", "")
    return str(error["msg"]).removeprefix("Value error, ")
