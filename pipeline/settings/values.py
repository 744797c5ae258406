"""What a single setting may be: an address, a path in Vault, a URL; what is none is told what to write."""

import re
from importlib import resources
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, StringConstraints

from pipeline.choice import Choice

_ADDRESS = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[\w.-]+):(\d{1,5})/[^/?#\s@:]+(?:\?[^\s#@]+)?", re.ASCII)
_VAULT_PATH = re.compile(r"[\w.-]+(?:/[\w.-]+)*", re.ASCII)
_HIGHEST_PORT = 65535


class Auth(Choice):
    """How Vault is logged in to."""

    JWT = "jwt"
    APPROLE = "approle"
    TOKEN = "token"  # noqa: S105 - the word, and none of them


class Edits(Choice):
    """What becomes of what somebody changed in Metabase by hand."""

    OVERWRITE = "overwrite"
    KEEP = "keep"


def _address(value: str) -> str:
    match = _ADDRESS.fullmatch(value)
    if match is None or not 0 < int(match[1]) <= _HIGHEST_PORT:
        raise ValueError("is not a valid database address; write host:port/name")
    return value


def _vault_path(value: str) -> str:
    if _VAULT_PATH.fullmatch(value) is None:
        raise ValueError(
            "is not a valid path in Vault; write it without a leading slash, such as warehouse or hr/reader"
        )
    return value


def _url(value: str) -> str:
    if re.fullmatch(r"https?://[^\s/]+\S*", value) is None:
        raise ValueError("is not a valid URL; write http:// or https:// and the host")
    return value.rstrip("/")


def alert_forms() -> list[str]:
    """Return the forms in which an alert can be sent: the modules of pipeline.alerts.forms, by name.

    They are not imported, for settings are read by what needs none of them.
    """
    files = resources.files("pipeline").joinpath("alerts", "forms").iterdir()
    names = (file.name.removesuffix(".py") for file in files if file.name.endswith(".py"))
    return sorted(name for name in names if not name.startswith("_"))


def _alert_form(value: str) -> str:
    if value not in (forms := alert_forms()):
        raise ValueError(f"must be {', '.join(forms[:-1])} or {forms[-1]}; correct it")
    return value


def _stanza(value: str) -> str:
    if re.fullmatch(r"\w[\w.-]*", value, re.ASCII) is None:
        raise ValueError("is not a valid stanza; write the name in brackets of pgBackRest's own file")
    return value


def _split(value: object) -> object:
    # By line, not by space: the reader has put folders before these, and a folder's name may hold a space.
    return [part for part in re.split(r"\s*[,\n]\s*", value) if part] if isinstance(value, str) else value


Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Address = Annotated[Text, AfterValidator(_address)]
VaultPath = Annotated[Text, AfterValidator(_vault_path)]
Url = Annotated[Text, AfterValidator(_url)]
Stanza = Annotated[Text, AfterValidator(_stanza)]
AlertForm = Annotated[Text, AfterValidator(_alert_form)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(_split)]
Paths = Annotated[tuple[Path, ...], BeforeValidator(_split)]
