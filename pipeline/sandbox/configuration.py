"""The sandbox's luigi.cfg: the project's settings, the sandbox's addresses laid over them. No credential."""

import configparser
import io
from collections.abc import Mapping, Sequence

from pipeline.sandbox import provision
from pipeline.sandbox.home import PROJECT, Home
from pipeline.sandbox.ports import ADDRESS
from pipeline.sandbox.servers import backup_store
from pipeline.system import atomic

HEADER = (
    "# Made by bin/sandbox, and overwritten by its next command: change the project's luigi.cfg instead.\n\n"
)
# Sections that name one thing each; the project's own are about other databases.
NAMED = ("source.", "database.")


class _Parser(configparser.RawConfigParser):
    """Keeps the spelling of keys."""

    def optionxform(self, optionstr: str) -> str:
        return optionstr


Sections = Mapping[str, Mapping[str, str]]


def template() -> str:
    """Return the project's own settings, or nothing where they are not at hand."""
    path = PROJECT / "luigi.cfg"
    return path.read_text() if path.exists() else ""


def write(home: Home, databases: Sequence[str] | None = None) -> None:
    """Write the settings of this sandbox, and the keys of its databases that they name.

    With the sources `databases`, if it does not yet remember these.
    """
    named = home.state.databases if databases is None else databases
    backup_store.write_signers(home, named, backup_store.signers(home))
    atomic.write(home.settings_file, render(template(), sections(home, named)))


def sections(home: Home, databases: Sequence[str] | None = None) -> dict[str, dict[str, str]]:
    """Return the settings that are this sandbox's own, with its sources or with the sources `databases`."""
    ports = home.state.ports
    databases = home.state.databases if databases is None else databases
    own = {
        "core": {"default-scheduler-host": ADDRESS, "default-scheduler-port": str(ports.get("luigid", 8082))},
        "scheduler": {"state_path": str(home.path / "luigi" / "state.pickle")},
        "vault": {
            "url": f"http://{ADDRESS}:{ports['vault']}",
            "auth": "approle",
            "role": provision.role_id(home),
            "credential_file": str(provision.secret_id_file(home)),
            "mount": "secret",
            "prefix": "pipeline",
        },
        "warehouse": {"secret": "warehouse"},
        "drill": {"secret": provision.DRILL, "superuser_secret": provision.DRILL_SUPERUSER},
        "alerts": {"secret": "alerts", "spool": str(home.path / "alerts")},
        "visualizer": {
            "secret": provision.SCHEDULER,
            "url": f"http://{ADDRESS}:{ports.get('luigid', 8082)}",
        },
        "logs": {"folder": str(home.path / "steps")},
        # Without `repository` the checkout is used as it lies there, so that a change can be tried at once.
        "analysts": {"checkout": str(home.analysts)},
    }
    own |= backup_store.settings(home)
    own["restore"] |= {
        "role": provision.role_id(home, provision.RESTORE),
        "credential_file": str(provision.secret_id_file(home, provision.RESTORE)),
    }
    for name in databases:
        own[f"source.{name}"] = {"secret": f"source/{name}"}
        own[f"database.{name}"] = {"secret": f"database/{name}"}
    if provision.DYNAMIC in databases:
        own[f"source.{provision.DYNAMIC}"] = {
            "secret": f"database/creds/pipeline_{provision.DYNAMIC}",
            "address": f"{ADDRESS}:{ports[provision.SOURCES]}/{provision.DYNAMIC}",
        }
    return own


def render(settings: str, own: Sections) -> str:
    """Return `settings` with the sections of `own` laid over them, key by key."""
    parser = _Parser()
    parser.read_string(settings)
    for section in parser.sections():
        if section.startswith(NAMED):
            parser.remove_section(section)
    for section, values in own.items():
        if not parser.has_section(section):
            parser.add_section(section)
        for key, value in values.items():
            # Luigi takes default-scheduler-host and default_scheduler_host for the same.
            for other in parser.options(section):
                if other.replace("-", "_") == key.replace("-", "_"):
                    parser.remove_option(section, other)
            parser.set(section, key, value)
    output = io.StringIO()
    parser.write(output)
    return HEADER + output.getvalue()
