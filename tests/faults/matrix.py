"""The matrix: the steps and where each can stand, the faults, and which can reach which."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pipeline.errors import CheckError, StepError, UnreachableError
from tests.faults import changes, clocks, disks, faults, lines, servers, slow_disks
from tests.faults.faults import Fault


@dataclass(frozen=True)
class Step:
    """A row: a step, and the places in it where it can stand, as stand.py has them."""

    name: str
    world: str
    begun: str
    middle: str
    done: str

    @property
    def places(self) -> dict[str, str]:
        """Its places by their names."""
        return {"begun": self.begun, "middle": self.middle, "done": self.done}


LOADS = (
    Step(
        "snapshot",
        "loads",
        "pipeline.loading.snapshot_holder:_start_holder:before",
        "pipeline.loading.snapshot_holder:_start_holder:after",
        "pipeline.loading.snapshot_holder:_open_snapshot:after",
    ),
    Step(
        "extract",
        "loads",
        "pipeline.loading.extract:_extract:before",
        "pipeline.loading.extract:_Extraction.stage:after",
        "pipeline.loading.extract:_extract_table:after",
    ),
    Step(
        "validate",
        "loads",
        "pipeline.loading.validate:_candidate:before",
        "pipeline.loading.validate:_results:after",
        "pipeline.loading.validate:_validate_extract:after",
    ),
    Step(
        "load",
        "loads",
        "pipeline.loading.load:_Publication.publish:before",
        "pipeline.loading.load:_Publication.publish:after",
        "pipeline.loading.load:_load_table:after",
    ),
    Step(
        "mart",
        "loads",
        "pipeline.marts.build:_Building.build:before",
        "pipeline.marts.build:_Building.build:after",
        "pipeline.marts.build:_build_mart:after",
    ),
)

BACKUPS = (
    Step(
        "dump",
        "archives",
        "pipeline.backup.dump:_Dump.run:before",
        "pipeline.backup.dump:_Dump._dump:after",
        "pipeline.backup.dump:dump_database:after",
    ),
    Step(
        "encrypt",
        "archives",
        "pipeline.backup.encrypt:_encrypt:before",
        "pipeline.crypt.public:Keyring.encrypt:after",
        "pipeline.backup.encrypt:encrypt_dump:after",
    ),
    Step(
        "upload",
        "archives",
        "pipeline.backup.upload:_upload:before",
        "pipeline.bucket.bucket:Bucket.upload:after",
        "pipeline.backup.upload:upload_backup:after",
    ),
    Step(
        "verify",
        "archives",
        "pipeline.backup.verify:_read_back:before",
        "pipeline.backup.verify:_publish:after",
        "pipeline.backup.verify:verify_backup:after",
    ),
    Step(
        "drill",
        "drills",
        "pipeline.backup.drills.drill:_Drill.run:before",
        "pipeline.backup.restoring.restoration:Restoration.into_new:after",
        "pipeline.backup.drills.attempt:publish:after",
    ),
)

# What one process does by itself: no Luigi, no step of its own.
COMMANDS = (
    Step(
        "restore",
        "restored",
        "pipeline.backup.restoring.restore:restore_into_new:before",
        "pipeline.backup.restoring.restoration:Restoration.fetch:after",
        "pipeline.backup.restoring.restoration:Restoration._compare:before",
    ),
    Step(
        "audit",
        "audits",
        "pipeline.audit.compare:compare:before",
        "pipeline.audit.compare:compare:after",
        "pipeline.audit.proofs:record:after",
    ),
    Step(
        "watch",
        "watches",
        "pipeline.observe.watch:watch:before",
        "pipeline.observe.observed.observe:observe:after",
        "pipeline.observe.watch:watch:after",
    ),
    Step(
        "report",
        "reports",
        "pipeline.report.write:_read:before",
        "pipeline.report.write:_read:after",
        "pipeline.report.write:_put:after",
    ),
    Step(
        "dashboards",
        "boards",
        "pipeline.dashboards.apply:_write:before",
        "pipeline.dashboards.write:Writer._made:after",
        "pipeline.dashboards.apply:_write:after",
    ),
    Step(
        "sync",
        "syncs",
        "pipeline.sync.synced:_make:before",
        "pipeline.sync.tree:write:after",
        "pipeline.sync.versions:switch:after",
    ),
)

STEPS = (*LOADS, *BACKUPS, *COMMANDS)


def _faults_of(name: str, shown: str, *, has_sessions: bool) -> tuple[Fault, ...]:
    found = servers.faults_of(name, shown, has_sessions=has_sessions)
    return (*found, lines.slow(name, shown))


# Who of the servers and people a step has to do with, beside its own processes.
_WAREHOUSE = _faults_of(servers.WAREHOUSE, "warehouse", has_sessions=True)
_SOURCE = _faults_of(servers.SOURCE, "source", has_sessions=True)
_VAULT = _faults_of(servers.VAULT, "Vault", has_sessions=False)
_B2 = _faults_of(servers.B2, "B2", has_sessions=False)
_SCHEDULER = _faults_of(servers.SCHEDULER, "scheduler", has_sessions=False)
_DRILL = _faults_of(servers.DRILL, "drill server", has_sessions=False)
_PEOPLE = (changes.TOKEN_REVOKED, changes.TWICE)
_ANY_LOAD = (*_WAREHOUSE, *_VAULT, *_SCHEDULER, *_PEOPLE, changes.WAREHOUSE_ROTATED)
_READS = (*_SOURCE, *changes.TABLES, changes.NOT_PERMITTED, changes.SOURCE_ROTATED)


def _at_once(*found: Fault) -> tuple[Fault, ...]:
    """Return faults of servers, for what no Luigi tries again, as a drill: it may say so, and end."""
    codes = (0, UnreachableError.exit_code)
    return tuple(replace(fault, codes=codes) if fault.fails else fault for fault in found)


# A drill has no room there for the word that it was not the backup's fault; its report says what was.
_NO_ROOM = replace(disks.WORK_FULL, codes=(*disks.WORK_FULL.codes, CheckError.exit_code))
_WORK_DISK = (disks.WORK_FULL, slow_disks.WORK_SLOW)
_WAREHOUSE_DISK = (disks.WAREHOUSE_FULL, slow_disks.WAREHOUSE_SLOW)
_REACH: dict[str, Sequence[Fault]] = {
    "snapshot": (*_ANY_LOAD, *_READS),
    "extract": (*_ANY_LOAD, *_READS, *_WAREHOUSE_DISK, lines.slower_than_limit(servers.SOURCE)),
    "validate": _ANY_LOAD,
    "load": (*_ANY_LOAD, *_WAREHOUSE_DISK),
    "mart": (*_ANY_LOAD, *_WAREHOUSE_DISK),
    "dump": (
        *_SOURCE,
        *_VAULT,
        *_PEOPLE,
        *changes.TABLES,
        changes.SOURCE_ROTATED,
        *_WORK_DISK,
        lines.slower_than_limit(servers.SOURCE),
    ),
    "encrypt": (*_PEOPLE, *_WORK_DISK),
    "upload": (*_B2, *_VAULT, *_PEOPLE, slow_disks.WORK_SLOW),
    "verify": (*_B2, *_VAULT, *_PEOPLE),
    "drill": (
        *_at_once(*_DRILL),
        *_B2,
        *_VAULT,
        *_PEOPLE,
        _NO_ROOM,
        slow_disks.WORK_SLOW,
        lines.slower_than_limit(servers.DRILL),
    ),
    "restore": (*_at_once(*_DRILL, *_B2, *_VAULT), *_WORK_DISK),
    "audit": _at_once(*_WAREHOUSE, *_SOURCE, *_VAULT),
    "watch": _at_once(*_WAREHOUSE, *_VAULT),
    "report": _at_once(*_WAREHOUSE, *_VAULT),
    "dashboards": _at_once(*_WAREHOUSE, *_VAULT),
    "sync": (),
}
# B2 takes nothing from a machine whose clock is off, and says so: there it is set in the middle alone.
# One that is off from the beginning is a matter of test_clocks.py.
_BY_B2 = ("dump", "encrypt", "upload", "verify", "drill", "restore")


def _clocks(step: str) -> tuple[Fault, ...]:
    if step not in _BY_B2:
        found = (*clocks.OFF, *clocks.SET)
        # Watch asks B2 too, and says what it could not see.
        return _at_once(*found) if step == "watch" else found
    codes = (0, StepError.exit_code, UnreachableError.exit_code)
    # A backup that is verified counts, though B2 copied nothing to keep any more: the next one catches up.
    return tuple(replace(fault, codes=codes, next_night=step == "verify") for fault in clocks.SET)


REACH = {step: (*found, *_clocks(step)) for step, found in _REACH.items()}


@dataclass(frozen=True)
class Cell:
    """One fault at one place in a step."""

    step: Step
    fault: Fault
    place: str

    @property
    def name(self) -> str:
        """What the test is called."""
        return f"{self.step.name}-{self.fault.name}-{self.place}".replace(" ", "_")


def cells() -> Iterator[Cell]:
    """Yield every cell that applies. Who ends a process finds it anywhere; the others have a place."""
    for step in STEPS:
        for fault in faults.COMMANDS if step in COMMANDS else faults.PROCESSES:
            for place in step.places:
                yield Cell(step, fault, place)
        for fault in REACH[step.name]:
            yield Cell(step, fault, fault.place)


def applies() -> dict[str, list[str]]:
    """Return all steps, each with the faults that can reach it."""
    found: dict[str, list[str]] = {step.name: [] for step in STEPS}
    for cell in cells():
        found[cell.step.name].append(cell.fault.name)
    return found
