"""Where settings are: in the files in which Luigi looks for them."""

import contextlib
import os
import pwd
from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import SettingsError


def settings_files(environment: Mapping[str, str]) -> list[Path]:
    """Return the settings files that there are, the one that wins last. Raise SettingsError without any."""
    usual = (
        Path("/etc/luigi/client.cfg"),
        Path("/etc/luigi/luigi.cfg"),
        Path("client.cfg"),
        Path("luigi.cfg"),
    )
    files = [path for path in usual if _is_file(path)]
    if named := environment.get("LUIGI_CONFIG_PATH"):
        if not _is_file(Path(named)):
            problem = f"LUIGI_CONFIG_PATH names {named}, which is not a file; correct or unset the variable"
            raise SettingsError([problem])
        files.append(Path(named))
    if not files:
        problem = (
            "no settings file: neither luigi.cfg in this folder nor /etc/luigi/luigi.cfg; "
            "go to the folder that holds it, or set LUIGI_CONFIG_PATH"
        )
        raise SettingsError([problem])
    return files


def _is_file(path: Path) -> bool:
    """Return whether it is a file. Raise SettingsError if its folder is closed to whoever runs this."""
    try:
        return path.is_file()
    except PermissionError:
        # Who changed to another user in root's own folder is in one that holds nothing for that user.
        if not path.is_absolute():
            return False
        problem = (
            f"{path}: its folder cannot be entered by {_user()}; run this as the user that runs the "
            "pipeline, or open the folder to this one"
        )
        raise SettingsError([problem]) from None


def _user() -> str:
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(os.geteuid()).pw_name
    return f"user {os.geteuid()}"
