"""What systemd is told: a service and a timer for each job, and a service for what is always there."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.chains import DutyKind
from pipeline.chains.jobs import Job
from pipeline.install.crontab import is_started, words
from pipeline.install.layout import MARK, USER, Layout

DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

SERVICE = """\
[Unit]
Description=pipeline: {name}
Wants=network-online.target
After=network-online.target{after}

[Service]
User={user}
Group={user}
UMask=0077
Environment=LUIGI_CONFIG_PATH={settings}
{how}# It ends its own steps: they are not to be told beside it, and what is left after that is ended.
KillMode=mixed
TimeoutStopSec=45
SuccessExitStatus=143
NoNewPrivileges=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectSystem=full
ProtectControlGroups=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictSUIDSGID=yes
LockPersonality=yes
"""
INSTALL = "\n[Install]\nWantedBy={target}\n"
TIMER = """\
[Unit]
Description=pipeline: schedule of {name}

[Timer]
OnCalendar={when}
AccuracySec=1s
{persistent}"""


def render(wanted: Sequence[Job], layout: Layout) -> Mapping[str, str]:
    """Return the text of each unit, by its file's name."""
    texts = {}
    for job in wanted:
        if is_started(job):
            texts[f"{job.id}.service"] = MARK + _service(job, layout)
        if job.duty.kind == DutyKind.PERIODIC:
            texts[f"{job.id}.timer"] = MARK + _timer(job, job.begins(wanted))
    return texts


def begun(wanted: Sequence[Job]) -> list[str]:
    """Return the units that are there from the machine's start on."""
    return [
        f"{job.id}.{'timer' if job.duty.kind == DutyKind.PERIODIC else 'service'}"
        for job in wanted
        if is_started(job)
    ]


def enabled_by(layout: Layout, name: str, text: str) -> Path:
    """Return the link by which systemd starts a unit with the machine."""
    (target,) = re.findall(r"^WantedBy=(.+)$", text, re.MULTILINE)
    return layout.units / f"{target}.wants" / name


def calendar(schedule: str) -> str:
    """Return a crontab's five fields as systemd says them. Raise ValueError for ranges and lists.

    >>> calendar("15 2 * * *"), calendar("*/5 * * * *"), calendar("0 6 1 * *"), calendar("0 6 * * 1")
    ('*-*-* 02:15:00 UTC', '*-*-* *:0/5:00 UTC', '*-*-01 06:00:00 UTC', 'Mon *-*-* 06:00:00 UTC')
    """
    minute, hour, day, month, weekday = schedule.split()
    days = "" if weekday == "*" else f"{DAYS[int(weekday)]} "
    return f"{days}*-{_field(month)}-{_field(day)} {_field(hour)}:{_field(minute)}:00 UTC"


def _field(text: str) -> str:
    if text.startswith("*/"):
        return f"0/{int(text[2:])}"
    return text if text == "*" else f"{int(text):02}"


def _service(job: Job, layout: Layout) -> str:
    command = " ".join([f"{layout.bin}/pipeline", *words(job, layout)])
    service = job.duty.kind == DutyKind.SERVICE
    if service:
        how = "".join(f"ExecStartPre={layout.bin}/pipeline {name}\n" for name in job.duty.before)
        how += f"ExecStart={command}\nRestart=on-failure\nRestartSec=30\n"
    else:
        wrapper = f"{layout.bin}/pipeline-cron --lock {job.name} --timeout {job.duty.limit}"
        how = f"Type=oneshot\nExecStart={wrapper} {command}\n"
    text = SERVICE.format(
        name=job.name,
        user=USER,
        settings=layout.settings,
        how=how,
        after=" pipeline-scheduler.service" if service and not job.duty.before else "",
    )
    return text + (INSTALL.format(target="multi-user.target") if service else "")


def _timer(job: Job, schedule: str) -> str:
    # What was missed while the machine was off is done when it is on again; what is frequent comes anyway.
    missed = "" if schedule.startswith("*/") else "Persistent=true\n"
    timer = TIMER.format(name=job.name, when=calendar(schedule), persistent=missed)
    return timer + INSTALL.format(target="timers.target")
