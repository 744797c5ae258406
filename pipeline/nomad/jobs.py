"""The job files: one for each duty of pipeline/chains, in HCL2, as `nomad fmt` writes it.

They are written into nomad/ and kept there, for people to read: `python -m pipeline.nomad.jobs nomad`.
Strings in a task's `config` are read twice, by the command line and on the node: what is left in them for the
second time are the values that a person gives with a dispatched job, and nothing else.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.chains import DUTIES, Duty, DutyKind
from pipeline.chains.jobs import PREFIX
from pipeline.dashboards import serving
from pipeline.nomad import hcl, values

HEADER = "# Written by pipeline/nomad/jobs.py from pipeline/chains/duties.py: change it there.\n"
# Nomad has it renewed at half of that; the program logs in with it once and renews its own token.
IDENTITY_TTL = "1h"
# So often within ten minutes a service is started again at once, and after that once these are over.
RESTARTS = 3
# The node cuts what is longer down to this, without a word.
KILL_TIMEOUT = "30s"
# A service that is reached has a port, on its node alone unless luigi.cfg says otherwise. Of the scheduler
# only that is looked at: it asks for a login also of who looks whether it lives.
REACHED: Mapping[str, tuple[str, str, Mapping[str, str]]] = {
    "scheduler": (
        "var.scheduler_port",
        # Empty: the node's own address.
        f'var.scheduler_address == "{values.LOOPBACK}" ? "{values.LOOPBACK}" : ""',
        {"type": '"tcp"', "interval": '"10s"', "timeout": '"2s"'},
    ),
    "metabase": (
        str(serving.PORT),
        f'"{serving.HOST}"',
        {"type": '"http"', "path": '"/api/health"', "interval": '"10s"', "timeout": '"5s"'},
    ),
}
# By itself it takes the port from luigi.cfg, and listens on its own machine alone.
LISTENS = {"scheduler": ("--address", "${var.scheduler_address}")}
JAR = "local/metabase.jar"
# Nomad's own, for a service to be well.
USUAL_MINUTES = 5
# What a client's configuration calls the home of the jobs' user.
VOLUME = "pipeline"
# Of `pipeline migrate`, in MiB.
BEFORE_MEMORY = 200


def render(duty: Duty) -> str:
    """Return the job file of a duty."""
    identity = f"{PREFIX}{duty.name}-${{var.database}}" if duty.per_database else PREFIX + duty.name
    group = [
        *_restart(duty),
        *(
            ["count = var.workers", "", *hcl.block("spread", ['attribute = "${node.unique.id}"']), ""]
            if duty.scales
            else []
        ),
        *(_volume() if not duty.foreign else []),
        *(_network(duty) if duty.name in REACHED else []),
        *_update(duty),
    ]
    for name in duty.before:
        words = name.split()
        group += [*_task(words[-1], duty, words, identity, before=True), ""]
    group += _task(duty.name, duty, [*duty.arguments, *LISTENS.get(duty.name, ())], identity)
    body = [
        f'id          = "{identity}"',
        f'name        = "{identity}"',
        f'type        = "{_type(duty)}"',
        "datacenters = var.datacenters",
        "",
        *(_pinned() if not (duty.scales or duty.every_node) else []),
        *_start(duty),
        *hcl.block(f'group "{duty.name}"', group),
    ]
    return "\n".join([HEADER, *values.declared(duty), *hcl.block(f'job "{duty.name}"', body)]) + "\n"


def _pinned() -> list[str]:
    """Return what keeps a job on the node that has the checkout, dumps on their way and alerts that wait."""
    content = hcl.block("content", ['attribute = "${node.unique.name}"', "value     = constraint.value"])
    each = 'for_each = var.node == "" ? [] : [var.node]'
    return [*hcl.block('dynamic "constraint"', [each, "", *content]), ""]


def _start(duty: Duty) -> list[str]:
    if duty.kind == DutyKind.PERIODIC:
        key = f'"{duty.name}-${{var.database}}"' if duty.per_database else f'"{duty.name}"'
        usual = "var.schedule" if duty.per_database else hcl.quoted(duty.schedule)
        when = {
            "crons": f"[lookup(var.schedules, {key}, {usual})]",
            "time_zone": '"UTC"',
            "prohibit_overlap": "true",
        }
        return [*hcl.block("periodic", hcl.aligned(when)), ""]
    if duty.kind == DutyKind.DISPATCHED:
        keys = {
            "payload": '"forbidden"',
            "meta_required": hcl.listed(duty.required),
            "meta_optional": hcl.listed(duty.optional),
        }
        return [*hcl.block("parameterized", hcl.aligned(keys)), ""]
    return []


def _type(duty: Duty) -> str:
    if duty.kind == DutyKind.SERVICE:
        return "service"
    return "sysbatch" if duty.every_node else "batch"


def _restart(duty: Duty) -> list[str]:
    """Return what follows on an end: a service is started again; of a batch one failure is one failure."""
    service = duty.kind == DutyKind.SERVICE
    again = (
        {"attempts": str(RESTARTS), "interval": '"10m"', "delay": '"15s"', "mode": '"delay"'}
        if service
        else {"attempts": "0", "mode": '"fail"'}
    )
    elsewhere = {"unlimited": "true", "delay": '"30s"', "delay_function": '"constant"'}
    never = {"attempts": "0", "unlimited": "false"}
    # What is done on each node has no other node to go to, and Nomad refuses to be told so.
    rescheduled = [*hcl.block("reschedule", hcl.aligned(elsewhere if service else never)), ""]
    return [*hcl.block("restart", hcl.aligned(again)), "", *(rescheduled if not duty.every_node else [])]


def _volume() -> list[str]:
    """Return what a group has under the exec driver, whose tasks see no folder of the node else."""
    content = hcl.block("content", hcl.aligned({"type": '"host"', "source": f'"{VOLUME}"'}))
    each = {"for_each": f'var.driver == "exec" ? ["{VOLUME}"] : []', "labels": f'["{VOLUME}"]'}
    return [*hcl.block('dynamic "volume"', [*hcl.aligned(each), "", *content]), ""]


def _mount() -> list[str]:
    content = hcl.block("content", hcl.aligned({"volume": f'"{VOLUME}"', "destination": "var.home"}))
    each = {"for_each": f'var.driver == "exec" ? ["{VOLUME}"] : []'}
    return [*hcl.block('dynamic "volume_mount"', [*hcl.aligned(each), "", *content]), ""]


def _update(duty: Duty) -> list[str]:
    """Return how long Nomad waits for a service that is slow to begin."""
    if duty.start_minutes <= USUAL_MINUTES:
        return []
    waits = {
        "healthy_deadline": f'"{duty.start_minutes}m"',
        "progress_deadline": f'"{duty.start_minutes + USUAL_MINUTES}m"',
    }
    return [*hcl.block("update", hcl.aligned(waits)), ""]


def _network(duty: Duty) -> list[str]:
    port, address, check = REACHED[duty.name]
    service = {
        "name": f'"{PREFIX}{duty.name}"',
        "provider": '"nomad"',
        "port": '"http"',
        "address": address,
    }
    return [
        *hcl.block("network", hcl.block('port "http"', hcl.aligned({"static": port}))),
        "",
        *hcl.block("service", [*hcl.aligned(service), "", *hcl.block("check", hcl.aligned(check))]),
        "",
    ]


def _task(
    name: str, duty: Duty, arguments: Sequence[str], identity: str, *, before: bool = False
) -> list[str]:
    config = {"command": "var.python", "args": f'["local/pipeline.pex", {_arguments(arguments)}]'}
    # What becomes a program of others keeps nothing, and gets nothing that others keep.
    home = "${NOMAD_TASK_DIR}" if duty.foreign else "${var.home}"
    environment = {
        "HOME": hcl.quoted(home) if duty.foreign else "var.home",
        "PATH": "var.path",
        "LUIGI_CONFIG_PATH": "var.settings",
        "PEX_ROOT": hcl.quoted(f"{home}/release"),
        "VAULT_ADDR": "var.vault",
        "VAULT_ROLE": f'"{identity}"',
    }
    login = {"name": '"vault"', "aud": '["vault.io"]', "file": "true", "ttl": f'"{IDENTITY_TTL}"'}
    user = "metabase_user" if duty.foreign else "user"
    memory = duty.memory_mb if not before else BEFORE_MEMORY
    inside = [
        *hcl.aligned(
            {
                "driver": "var.driver",
                "user": f"var.{user}",
                "kill_signal": '"SIGTERM"',
                "kill_timeout": f'"{KILL_TIMEOUT}"',
            }
        ),
        "",
        *(_first() if before else []),
        *(_mount() if not duty.foreign else []),
        *_artifact("release", "checksum", "local/pipeline.pex"),
        "",
        *([*_artifact("metabase", "metabase_checksum", JAR), ""] if "{jar}" in arguments else []),
        *hcl.block("identity", hcl.aligned(login)),
        "",
        *hcl.block("config", hcl.aligned(config)),
        "",
        *hcl.block("env", hcl.aligned(environment)),
        "",
        *hcl.block("resources", hcl.aligned({"cpu": "500", "memory": str(memory)})),
    ]
    return hcl.block(f'task "{name}"', inside)


def _first() -> list[str]:
    return [*hcl.block("lifecycle", hcl.aligned({"hook": '"prestart"', "sidecar": "false"})), ""]


def _artifact(source: str, checksum: str, place: str) -> list[str]:
    """Return what a task is given: a file, which is not taken if its checksum is another."""
    file = {"source": f"var.{source}", "destination": hcl.quoted(place), "mode": '"file"'}
    return hcl.block(
        "artifact", [*hcl.aligned(file), "", *hcl.block("options", [f"checksum = var.{checksum}"])]
    )


def _arguments(arguments: Sequence[str]) -> str:
    return ", ".join(hcl.quoted(_value(word)) for word in arguments)


def _value(word: str) -> str:
    if given := re.fullmatch(r"\{meta\.(\w+)\}", word):
        return f"${{NOMAD_META_{given[1]}}}"
    known = {"{database}": "${var.database}", "{state}": "${var.home}", "{jar}": JAR}
    for name, value in known.items():
        word = word.replace(name, value)
    return word


def write(folder: Path) -> None:
    """Write every job file into a folder."""
    for duty in DUTIES:
        (folder / f"{duty.name}.nomad.hcl").write_text(render(duty), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
