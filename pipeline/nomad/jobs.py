"""The job files: one for each duty of pipeline/chains, in HCL2, as `nomad fmt` writes it.

They are written into nomad/ and kept there, for people to read: `python -m pipeline.nomad.jobs nomad`.
Strings in a task's `config` are read twice, by the command line and on the node: what is left in them for the
second time are the values that a person gives with a dispatched job, and nothing else.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.chains import DUTIES, Duty
from pipeline.chains.jobs import PREFIX
from pipeline.dashboards import serving

HEADER = "# Written by pipeline/nomad/jobs.py from pipeline/chains/duties.py: change it there.\n"
# Nomad has it renewed at half of that; the program logs in with it once and renews its own token.
IDENTITY_TTL = "1h"
# The node cuts what is longer down to this, without a word.
KILL_TIMEOUT = "30s"
# A service that is reached has a port, on its node alone. Of the scheduler only that is looked at: it asks
# for a login also of who looks whether it lives.
REACHED: Mapping[str, tuple[int, Mapping[str, str]]] = {
    "scheduler": (8082, {"type": '"tcp"', "interval": '"10s"', "timeout": '"2s"'}),
    "metabase": (
        serving.PORT, {"type": '"http"', "path": '"/api/health"', "interval": '"10s"', "timeout": '"5s"'},
    ),
}  # fmt: skip
JAR = "local/metabase.jar"
# Nomad's own, for a service to be well.
USUAL_MINUTES = 5
# What a client's configuration calls the home of the jobs' user.
VOLUME = "pipeline"
# Of `pipeline migrate`, in MiB.
BEFORE_MEMORY = 200

# Every job takes them all, so that one file of values serves them all.
VARIABLES: Mapping[str, tuple[str, str, str]] = {
    "datacenters": ("list(string)", '["*"]', "where the jobs may run"),
    "driver": ("string", '"raw_exec"', "raw_exec, or exec where the clients have the home as host volume"),
    "release": ("string", "", "the address of the release file, as an artifact's source"),
    "checksum": ("string", "", "sha256:... of that file"),
    "python": ("string", '"/usr/bin/python3"', "Python 3.11, 3.12 or 3.13 on the nodes"),
    "user": ("string", '"pipeline"', "the user of the jobs, on the nodes"),
    "home": ("string", '"/var/lib/pipeline"', "the home of that user, and what it keeps"),
    "path": ("string", '"/usr/local/bin:/usr/bin:/bin"', "where pg_dump, gpg and git are"),
    "settings": ("string", '"/etc/pipeline/luigi.cfg"', "luigi.cfg on the nodes"),
    "vault": ("string", "", "the address of Vault"),
    "schedules": ("map(string)", "{}", 'other times than ours, in UTC: { etl = "15 2 * * *" }'),
    "workers": ("number", "1", "how many `pipeline worker`"),
    "metabase": ("string", '""', "the address of Metabase's release file, where it is a job"),
    "metabase_checksum": ("string", '""', "sha256:... of that file"),
    "metabase_user": ("string", '"metabase"', "the user of that job, which is to read nothing of ours"),
}  # fmt: skip


def render(duty: Duty) -> str:
    """Return the job file of a duty."""
    identity = f"{PREFIX}{duty.name}-${{var.database}}" if duty.per_database else PREFIX + duty.name
    service = duty.kind == "service"
    group = [
        *_restart(service=service),
        *(["count = var.workers", ""] if duty.scales else []),
        *(_volume() if not duty.foreign else []),
        *(_network(duty) if duty.name in REACHED else []),
        *_update(duty),
    ]
    for name in duty.before:
        words = name.split()
        group += [*_task(words[-1], duty, words, identity, before=True), ""]
    group += _task(duty.name, duty, duty.arguments, identity)
    body = [
        f'id          = "{identity}"',
        f'name        = "{identity}"',
        f'type        = "{"service" if service else "batch"}"',
        "datacenters = var.datacenters",
        "",
        *_start(duty),
        *_block(f'group "{duty.name}"', group),
    ]
    return "\n".join([HEADER, *_variables(duty), *_block(f'job "{duty.name}"', body)]) + "\n"


def _variables(duty: Duty) -> list[str]:
    lines = []
    for name, (kind, default, meaning) in VARIABLES.items():
        inside = {"type": kind, **({"default": default} if default else {}), "description": _quoted(meaning)}
        lines += [*_block(f'variable "{name}"', _aligned(inside)), ""]
    if duty.per_database:
        # In an identifier of PostgreSQL's without quotes; HCL2 of Nomad has no function that only compares.
        condition = 'regex_replace(var.database, "[a-z][a-z0-9_]*", "") == ""'
        told = '"a database is called as in luigi.cfg: small letters, digits and _"'
        valid = _block("validation", _aligned({"condition": condition, "error_message": told}))
        inside = {"type": "string", "description": '"the [database.NAME] of luigi.cfg that it is about"'}
        lines += [*_block('variable "database"', [*_aligned(inside), "", *valid]), ""]
        lines += [
            *_block('variable "schedule"', _aligned({"type": "string", "default": _quoted(duty.schedule)})),
            "",
        ]
    return lines


def _start(duty: Duty) -> list[str]:
    if duty.kind == "periodic":
        key = f'"{duty.name}-${{var.database}}"' if duty.per_database else f'"{duty.name}"'
        usual = "var.schedule" if duty.per_database else _quoted(duty.schedule)
        when = {
            "crons": f"[lookup(var.schedules, {key}, {usual})]",
            "time_zone": '"UTC"',
            "prohibit_overlap": "true",
        }
        return [*_block("periodic", _aligned(when)), ""]
    if duty.kind == "dispatched":
        keys = {
            "payload": '"forbidden"',
            "meta_required": _listed(duty.required),
            "meta_optional": _listed(duty.optional),
        }
        return [*_block("parameterized", _aligned(keys)), ""]
    return []


def _restart(*, service: bool) -> list[str]:
    """Return what follows on an end: a service is started again; of a batch one failure is one failure."""
    again = (
        {"attempts": "3", "interval": '"10m"', "delay": '"15s"', "mode": '"delay"'}
        if service
        else {"attempts": "0", "mode": '"fail"'}
    )
    elsewhere = {"unlimited": "true", "delay": '"30s"', "delay_function": '"constant"'}
    never = {"attempts": "0", "unlimited": "false"}
    return [
        *_block("restart", _aligned(again)), "",
        *_block("reschedule", _aligned(elsewhere if service else never)), "",
    ]  # fmt: skip


def _volume() -> list[str]:
    """Return what a group has under the exec driver, whose tasks see no folder of the node else."""
    content = _block("content", _aligned({"type": '"host"', "source": f'"{VOLUME}"'}))
    each = {"for_each": f'var.driver == "exec" ? ["{VOLUME}"] : []', "labels": f'["{VOLUME}"]'}
    return [*_block('dynamic "volume"', [*_aligned(each), "", *content]), ""]


def _mount() -> list[str]:
    content = _block("content", _aligned({"volume": f'"{VOLUME}"', "destination": "var.home"}))
    each = {"for_each": f'var.driver == "exec" ? ["{VOLUME}"] : []'}
    return [*_block('dynamic "volume_mount"', [*_aligned(each), "", *content]), ""]


def _update(duty: Duty) -> list[str]:
    """Return how long Nomad waits for a service that is slow to begin."""
    if duty.start_minutes <= USUAL_MINUTES:
        return []
    waits = {
        "healthy_deadline": f'"{duty.start_minutes}m"',
        "progress_deadline": f'"{duty.start_minutes + USUAL_MINUTES}m"',
    }
    return [*_block("update", _aligned(waits)), ""]


def _network(duty: Duty) -> list[str]:
    port, check = REACHED[duty.name]
    service = {
        "name": f'"{PREFIX}{duty.name}"', "provider": '"nomad"', "port": '"http"', "address": '"127.0.0.1"',
    }  # fmt: skip
    return [
        *_block("network", _block('port "http"', _aligned({"static": str(port)}))), "",
        *_block("service", [*_aligned(service), "", *_block("check", _aligned(check))]), "",
    ]  # fmt: skip


def _task(
    name: str, duty: Duty, arguments: Sequence[str], identity: str, *, before: bool = False
) -> list[str]:
    config = {"command": "var.python", "args": f'["local/pipeline.pex", {_arguments(arguments)}]'}
    # What becomes a program of others keeps nothing, and gets nothing that others keep.
    home = "${NOMAD_TASK_DIR}" if duty.foreign else "${var.home}"
    environment = {
        "HOME": _quoted(home) if duty.foreign else "var.home",
        "PATH": "var.path",
        "LUIGI_CONFIG_PATH": "var.settings",
        "PEX_ROOT": _quoted(f"{home}/release"),
        "VAULT_ADDR": "var.vault",
        "VAULT_ROLE": f'"{identity}"',
    }
    login = {"name": '"vault"', "aud": '["vault.io"]', "file": "true", "ttl": f'"{IDENTITY_TTL}"'}
    user = "metabase_user" if duty.foreign else "user"
    memory = duty.memory_mb if not before else BEFORE_MEMORY
    inside = [
        *_aligned({
            "driver": "var.driver", "user": f"var.{user}", "kill_signal": '"SIGTERM"',
            "kill_timeout": f'"{KILL_TIMEOUT}"',
        }), "",
        *([*_block("lifecycle", _aligned({"hook": '"prestart"', "sidecar": "false"})), ""] if before else []),
        *(_mount() if not duty.foreign else []),
        *_artifact("release", "checksum", "local/pipeline.pex"), "",
        *([*_artifact("metabase", "metabase_checksum", JAR), ""] if "{jar}" in arguments else []),
        *_block("identity", _aligned(login)), "",
        *_block("config", _aligned(config)), "",
        *_block("env", _aligned(environment)), "",
        *_block("resources", _aligned({"cpu": "500", "memory": str(memory)})),
    ]  # fmt: skip
    return _block(f'task "{name}"', inside)


def _artifact(source: str, checksum: str, place: str) -> list[str]:
    """Return what a task is given: a file, which is not taken if its checksum is another."""
    file = {"source": f"var.{source}", "destination": _quoted(place), "mode": '"file"'}
    return _block("artifact", [*_aligned(file), "", *_block("options", [f"checksum = var.{checksum}"])])


def _arguments(arguments: Sequence[str]) -> str:
    return ", ".join(_quoted(_value(word)) for word in arguments)


def _value(word: str) -> str:
    if given := re.fullmatch(r"\{meta\.(\w+)\}", word):
        return f"${{NOMAD_META_{given[1]}}}"
    known = {"{database}": "${var.database}", "{state}": "${var.home}", "{jar}": JAR}
    for name, value in known.items():
        word = word.replace(name, value)
    return word


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _listed(words: Sequence[str]) -> str:
    return "[" + ", ".join(map(_quoted, words)) + "]"


def _aligned(pairs: Mapping[str, str]) -> list[str]:
    width = max(map(len, pairs))
    return [f"{name:<{width}} = {value}" for name, value in pairs.items()]


def _block(head: str, lines: Sequence[str]) -> list[str]:
    return [f"{head} {{", *(f"  {line}" if line else "" for line in lines), "}"]


def write(folder: Path) -> None:
    """Write every job file into a folder."""
    for duty in DUTIES:
        (folder / f"{duty.name}.nomad.hcl").write_text(render(duty), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
