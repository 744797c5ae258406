"""What cron is told: a line for each job, and for each service one that starts it again within a minute."""

import shlex
from collections.abc import Sequence

from pipeline.chains import DutyKind
from pipeline.chains.jobs import Job
from pipeline.install.layout import MARK, USER, Layout

HEAD = """\
# Runs are known by their date in UTC, and Debian's cron goes by the machine's time zone: let that be UTC.
SHELL=/bin/bash
PATH=/usr/local/bin:/usr/bin:/bin
BIN={bin}
LUIGI_CONFIG_PATH={settings}
MAILTO=root

# minute hour day month weekday user command
"""


def render(wanted: Sequence[Job], layout: Layout) -> str:
    """Return the file for /etc/cron.d."""
    head = HEAD.format(bin=layout.bin, settings=layout.settings)
    return MARK + head + "".join(f"{_line(job, wanted, layout)}\n" for job in wanted if is_started(job))


def is_started(job: Job) -> bool:
    """Whether a clock, or the machine's start, starts it, and not a person or a program of others."""
    return job.duty.kind != DutyKind.DISPATCHED and not job.duty.foreign


def words(job: Job, layout: Layout) -> list[str]:
    """Return the arguments of `pipeline` for a job."""
    given = {"database": job.database or "", "state": str(layout.state)}
    return [word.format_map(given) for word in job.duty.arguments]


def _line(job: Job, wanted: Sequence[Job], layout: Layout) -> str:
    command = f"$BIN/pipeline {shlex.join(words(job, layout))}"
    if job.duty.kind != DutyKind.SERVICE:
        wrapped = f"$BIN/pipeline-cron --lock {job.name} --timeout {job.duty.limit} {command}"
        return f"{job.begins(wanted):<15} {USER} {wrapped}"
    before = "".join(f"$BIN/pipeline {name} && " for name in job.duty.before)
    # Asked each minute, and silent as long as it is there.
    once = f"flock --nonblock --conflict-exit-code 0 {layout.state}/{job.name}.lock"
    wrapped = f'$BIN/pipeline-cron --lock {job.name} bash -c "{before}exec {command}"'
    return f"{'* * * * *':<15} {USER} {once} {wrapped}"
