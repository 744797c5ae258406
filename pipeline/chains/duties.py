"""What is started by a clock, runs as a service, or is started by a person: each is a job of Nomad."""

from dataclasses import dataclass
from typing import Literal

from pipeline.chains.declared import ANALYSTS, BACKUP, DRILL, ETL
from pipeline.chains.model import Chain

Kind = Literal["periodic", "service", "dispatched"]
# What a duty reads in Vault, by the sections of luigi.cfg; {database} is the one that a job is about.
Need = Literal[
    "warehouse",
    "sources",
    "analysts",
    "analyst",
    "database",
    "databases",
    "backup",
    "audit",
    "restore",
    "drill",
    "metabase",
    "metabase_database",
]


@dataclass(frozen=True)
class Duty:
    """Something that is to happen, and how: `pipeline ARGUMENTS`.

    A word such as {meta.name} is what a person gives with a dispatched one, {database} what the job is about.
    `memory_mb` is what Nomad sets aside for all its processes, and ends them beyond under the exec driver:
    about three times what was measured (docs/operations.md), and no less than 200.
    """

    name: str
    kind: Kind
    arguments: tuple[str, ...]
    needs: tuple[Need, ...]
    memory_mb: int
    # There is no such job where luigi.cfg lacks one of these sections.
    sections: tuple[str, ...]
    # minute hour day month weekday, in UTC.
    schedule: str = ""
    # The chains that it can run to their root: its needs are theirs, those of what is within them included.
    chains: tuple[Chain, ...] = ()
    # One job for each [database.NAME].
    per_database: bool = False
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    # Is done, to its end, before it begins.
    before: tuple[str, ...] = ()
    # How many may be wanted at once; only what shares its work by itself.
    scales: bool = False
    # What it does is for the machine that it does it on: once on each that has workers.
    every_node: bool = False
    # How long a service may take until it is well.
    start_minutes: int = 3
    # It becomes a program of others: that may read nothing in Vault but its own entry. On one machine without
    # Nomad whoever has installed it starts it.
    foreign: bool = False
    # What its wrapper ends it after, for the day when its own limits do not work; a service has none.
    limit: str = "13h"


SCHEDULER = Duty(
    "scheduler",
    "service",
    ("scheduler", "--state-path", "{state}/scheduler.pickle"),
    ("warehouse",),
    300,
    ("visualizer",),
    before=("migrate",),
)

DUTIES = (
    SCHEDULER,
    Duty(
        "worker",
        "service",
        ("worker",),
        ("warehouse", "sources", "analysts"),
        800,
        ("warehouse", "analysts"),
        scales=True,
    ),
    Duty(
        ETL.name,
        "periodic",
        ("run", ETL.name),
        ("warehouse", "sources", "analysts", "metabase"),
        800,
        ("warehouse", "analysts"),
        schedule="15 2 * * *",
        chains=(ETL,),
    ),
    Duty(
        BACKUP.name,
        "periodic",
        ("run", BACKUP.name, "{database}"),
        ("database", "backup", "warehouse"),
        400,
        ("backup",),
        schedule="0 1 * * *",
        chains=(BACKUP,),
        per_database=True,
    ),
    Duty(
        DRILL.name,
        "periodic",
        ("run", DRILL.name, "--changed"),
        ("restore", "drill", "backup", "warehouse"),
        500,
        ("backup", "restore", "drill"),
        schedule="30 5 * * *",
        chains=(DRILL,),
    ),
    Duty(
        # Of the warehouse it has an analyst's login, and no other.
        ANALYSTS.name,
        "periodic",
        ("run", ANALYSTS.name),
        ("analyst",),
        1800,
        ("warehouse", "analysts"),
        schedule="30 4 * * *",
        chains=(ANALYSTS,),
    ),
    Duty(
        "sync",
        "periodic",
        ("sync",),
        ("analysts",),
        700,
        ("analysts",),
        schedule="*/5 * * * *",
        limit="10m",
        every_node=True,
    ),
    Duty(
        "audit",
        "periodic",
        ("audit",),
        ("warehouse", "sources", "analysts"),
        300,
        ("warehouse", "analysts"),
        schedule="0 5 * * *",
        limit="4h",
    ),
    Duty(
        "watch",
        "periodic",
        ("watch",),
        ("warehouse", "backup", "audit"),
        300,
        (),
        schedule="*/15 * * * *",
        limit="10m",
    ),
    Duty(
        "restore",
        "dispatched",
        (
            "restore",
            "{meta.database}",
            "--into-new",
            "{meta.into_new}",
            "--at",
            "{meta.at}",
            "--table",
            "{meta.table}",
        ),
        ("restore", "drill"),
        500,
        ("backup", "restore", "drill"),
        required=("database", "into_new"),
        optional=("at", "table"),
    ),
    Duty(
        "rerun",
        "dispatched",
        ("rerun", "--run", "{meta.run}", "--from", "{meta.from}", "{meta.name}"),
        ("warehouse", "sources", "analysts", "metabase", "databases", "backup"),
        800,
        ("warehouse", "analysts"),
        chains=(ETL, BACKUP),
        optional=("run", "from", "name"),
    ),
    Duty(
        # Each night does it as well: this is for between two, and for a Metabase that was away.
        "dashboards",
        "dispatched",
        ("dashboards", "apply"),
        ("warehouse", "metabase"),
        300,
        ("warehouse", "analysts", "metabase"),
    ),
    Duty(
        "metabase",
        "service",
        ("metabase", "serve", "--jar", "{jar}"),
        ("metabase_database",),
        2048,
        ("metabase_database",),
        before=("metabase prepare",),
        start_minutes=10,
        foreign=True,
    ),
)
