"""The values of a school that the job files take: what bin/nomad-deploy is given, and says by itself."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from pipeline.chains import Duty
from pipeline.nomad import hcl
from pipeline.scheduler import visualizer
from pipeline.settings import Settings

LOOPBACK, EVERYWHERE = "127.0.0.1", "0.0.0.0"  # noqa: S104 - with a certificate and a login

# Every job takes them all, so that one file of values serves them all.
VARIABLES: Mapping[str, tuple[str, str, str]] = {
    "datacenters": ("list(string)", '["*"]', "where the jobs may run"),
    "driver": ("string", '"raw_exec"', "raw_exec, or exec if the clients have the home as a host volume"),
    "release": ("string", "", "the address of the release file, as an artifact's source"),
    "checksum": ("string", "", "sha256:... of that file"),
    "python": ("string", '"/usr/bin/python3"', "Python 3.11, 3.12 or 3.13 on the nodes"),
    "user": ("string", '"pipeline"', "the user of the jobs, on the nodes"),
    "home": ("string", '"/var/lib/pipeline"', "the home of that user, where the jobs keep their data"),
    "path": ("string", '"/usr/local/bin:/usr/bin:/bin"', "the PATH with pg_dump, gpg and git"),
    "settings": ("string", '"/etc/pipeline/luigi.cfg"', "luigi.cfg on the nodes"),
    "vault": ("string", "", "the address of Vault"),
    "schedules": (
        "map(string)",
        "{}",
        'other schedules than the default ones, in UTC: { etl = "15 2 * * *" }',
    ),
    "workers": ("number", "1", "the number of `pipeline worker` processes"),
    "node": ("string", '""', "the node of all jobs except workers and sync, if there are several nodes"),
    "scheduler_address": (
        "string",
        f'"{LOOPBACK}"',
        "the address that the scheduler listens on, set by bin/nomad-deploy",
    ),
    "scheduler_port": (
        "number",
        str(visualizer.DEFAULT_PORT),
        "the port that the scheduler listens on, set by bin/nomad-deploy",
    ),
    "metabase": ("string", '""', "the address of Metabase's release file, if Metabase is a job"),
    "metabase_checksum": ("string", '""', "sha256:... of that file"),
    "metabase_user": (
        "string",
        '"metabase"',
        "the user of that job, which may read none of the pipeline's files",
    ),
}


def declared(duty: Duty) -> list[str]:
    """Return the blocks of the variables of a job."""
    lines = []
    for name, (kind, default, meaning) in VARIABLES.items():
        inside = {
            "type": kind,
            **({"default": default} if default else {}),
            "description": hcl.quoted(meaning),
        }
        lines += [*hcl.block(f'variable "{name}"', hcl.aligned(inside)), ""]
    if duty.per_database:
        # In an identifier of PostgreSQL's without quotes; HCL2 of Nomad has no function that only compares.
        condition = 'regex_replace(var.database, "[a-z][a-z0-9_]*", "") == ""'
        rule = '"a database has its name of luigi.cfg: lowercase letters, digits and _"'
        valid = hcl.block("validation", hcl.aligned({"condition": condition, "error_message": rule}))
        inside = {"type": "string", "description": '"the NAME of [database.NAME] in luigi.cfg"'}
        lines += [*hcl.block('variable "database"', [*hcl.aligned(inside), "", *valid]), ""]
        lines += [
            *hcl.block(
                'variable "schedule"', hcl.aligned({"type": "string", "default": hcl.quoted(duty.schedule)})
            ),
            "",
        ]
    return lines


def of_the_scheduler(settings: Settings) -> Mapping[str, str]:
    """Return where the scheduler is to listen: where luigi.cfg has everybody look for it.

    Beyond its own machine only where others look for it, and it has a certificate.
    """
    place = urlsplit(visualizer.address())
    encrypted = settings.visualizer is not None and settings.visualizer.certificate is not None
    beyond = encrypted and not (place.hostname or "").startswith(("localhost", "127.", "::1"))
    return {
        "scheduler_address": EVERYWHERE if beyond else LOOPBACK,
        "scheduler_port": str(place.port or visualizer.DEFAULT_PORT),
    }
