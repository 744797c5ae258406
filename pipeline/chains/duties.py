"""What is started by a clock, runs as a service, or is started by a person: each is a job of Nomad."""

from dataclasses import dataclass
from enum import StrEnum

from pipeline.chains.declared import ANALYSTS, ARCHIVE_DRILL, BACKUP, DRILL, ETL, RECOVERED
from pipeline.chains.model import Chain


class DutyKind(StrEnum):
    """What starts it: a clock, the machine, or a person."""

    PERIODIC = "periodic"
    SERVICE = "service"
    DISPATCHED = "dispatched"


class Need(StrEnum):
    """What a duty reads in Vault, by the sections of luigi.cfg."""

    WAREHOUSE = "warehouse"
    SOURCES = "sources"
    ANALYSTS = "analysts"
    ANALYST = "analyst"
    # The one that a job is about.
    DATABASE = "database"
    DATABASES = "databases"
    BACKUP = "backup"
    AUDIT = "audit"
    RESTORE = "restore"
    # Of what a restore reads, the bucket's key alone: not the private key.
    READER = "reader"
    DRILL = "drill"
    METABASE = "metabase"
    METABASE_DATABASE = "metabase_database"


@dataclass(frozen=True)
class Duty:
    """Something that is to happen, and how: `pipeline ARGUMENTS`.

    A word such as {meta.name} is what a person gives with a dispatched one, {database} what the job is about.
    `memory_mb` is what Nomad sets aside for all its processes, and ends them beyond under the exec driver:
    about three times what was measured (docs/operations.md), and no less than 200.
    """

    name: str
    kind: DutyKind
    arguments: tuple[str, ...]
    needs: tuple[Need, ...]
    memory_mb: int
    # There is no such job where luigi.cfg lacks one of these, sections or what they say (`Settings`).
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
    DutyKind.SERVICE,
    ("scheduler", "--state-path", "{state}/scheduler.pickle"),
    (Need.WAREHOUSE,),
    300,
    ("visualizer",),
    before=("migrate",),
)

DUTIES = (
    SCHEDULER,
    Duty(
        "worker",
        DutyKind.SERVICE,
        ("worker",),
        (Need.WAREHOUSE, Need.SOURCES, Need.ANALYSTS),
        800,
        ("warehouse", "analysts"),
        scales=True,
    ),
    Duty(
        ETL.name,
        DutyKind.PERIODIC,
        ("run", ETL.name),
        (Need.WAREHOUSE, Need.SOURCES, Need.ANALYSTS, Need.METABASE),
        800,
        ("warehouse", "analysts"),
        schedule="15 2 * * *",
        chains=(ETL,),
    ),
    Duty(
        BACKUP.name,
        DutyKind.PERIODIC,
        ("run", BACKUP.name, "{database}"),
        (Need.DATABASE, Need.BACKUP, Need.WAREHOUSE),
        400,
        ("backup",),
        schedule="0 1 * * *",
        chains=(BACKUP,),
        per_database=True,
    ),
    Duty(
        DRILL.name,
        DutyKind.PERIODIC,
        ("run", DRILL.name, "--changed"),
        (Need.RESTORE, Need.DRILL, Need.BACKUP, Need.WAREHOUSE),
        500,
        ("backup", "restore", "drill"),
        schedule="30 5 * * *",
        chains=(DRILL,),
    ),
    Duty(
        # Each night, and nothing to do once all of them held this month. It is apart from the drills of our
        # backups: neither has the other's logins, memory or failures.
        ARCHIVE_DRILL,
        DutyKind.PERIODIC,
        ("run", DRILL.name, "--from", RECOVERED.aspect),
        # It compares with the manifest of our backup, and opens none.
        (Need.READER, Need.BACKUP, Need.WAREHOUSE),
        # The restored server takes up to 128 MB for itself, beside what was measured of a small one.
        800,
        ("backup", "restore", "with_archive"),
        schedule="30 6 * * *",
    ),
    Duty(
        # Of the warehouse it has an analyst's login, and no other.
        ANALYSTS.name,
        DutyKind.PERIODIC,
        ("run", ANALYSTS.name),
        (Need.ANALYST,),
        1800,
        ("warehouse", "analysts"),
        schedule="30 4 * * *",
        chains=(ANALYSTS,),
    ),
    Duty(
        "sync",
        DutyKind.PERIODIC,
        ("sync",),
        (Need.ANALYSTS,),
        700,
        ("analysts",),
        schedule="*/5 * * * *",
        limit="10m",
        every_node=True,
    ),
    Duty(
        "audit",
        DutyKind.PERIODIC,
        ("audit",),
        (Need.WAREHOUSE, Need.SOURCES, Need.ANALYSTS),
        300,
        ("warehouse", "analysts"),
        schedule="0 5 * * *",
        limit="4h",
    ),
    Duty(
        "watch",
        DutyKind.PERIODIC,
        ("watch",),
        (Need.WAREHOUSE, Need.BACKUP, Need.AUDIT),
        300,
        (),
        schedule="*/15 * * * *",
        limit="10m",
    ),
    Duty(
        "restore",
        DutyKind.DISPATCHED,
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
        (Need.RESTORE, Need.DRILL),
        500,
        ("backup", "restore", "drill"),
        required=("database", "into_new"),
        optional=("at", "table"),
    ),
    Duty(
        "rerun",
        DutyKind.DISPATCHED,
        ("rerun", "--run", "{meta.run}", "--from", "{meta.from}", "{meta.name}"),
        (Need.WAREHOUSE, Need.SOURCES, Need.ANALYSTS, Need.METABASE, Need.DATABASES, Need.BACKUP),
        800,
        ("warehouse", "analysts"),
        chains=(ETL, BACKUP),
        optional=("run", "from", "name"),
    ),
    Duty(
        # Each night does it as well: this is for between two, and for a Metabase that was away.
        "dashboards",
        DutyKind.DISPATCHED,
        ("dashboards", "apply"),
        (Need.WAREHOUSE, Need.METABASE),
        300,
        ("warehouse", "analysts", "metabase"),
    ),
    Duty(
        "metabase",
        DutyKind.SERVICE,
        ("metabase", "serve", "--jar", "{jar}"),
        (Need.METABASE_DATABASE,),
        2048,
        ("metabase_database",),
        before=("metabase prepare",),
        start_minutes=10,
        foreign=True,
    ),
)
