"""The chains: each declared once, as plain data. Luigi's tasks, alerts, `status` and the others ask here."""

from pipeline.chains.declared import (
    ANALYSTS,
    APPLY_TASK,
    ARCHIVE_DRILL,
    ARCHIVE_DRILL_TASK,
    BACKED_UP,
    BACKUP,
    BUILD_TASK,
    CHAINS,
    DASHBOARDS,
    DRILL,
    DRILL_TASK,
    DRILLED,
    DUMP_TASK,
    ENCRYPT_TASK,
    ETL,
    EXTRACT_TASK,
    LOAD_TASK,
    MART,
    MARTS,
    OPEN_TASK,
    PROGRAM,
    PROGRAM_TASK,
    RECOVERED,
    SOURCE,
    SOURCE_TASK,
    SURFACE,
    TABLE,
    UPLOAD_TASK,
    VALIDATE_TASK,
    VERIFY_TASK,
)
from pipeline.chains.duties import DUTIES, Duty, DutyKind, Need
from pipeline.chains.model import Chain, Part, Subject, Task

__all__ = [
    "ANALYSTS",
    "APPLY_TASK",
    "ARCHIVE_DRILL",
    "ARCHIVE_DRILL_TASK",
    "BACKED_UP",
    "BACKUP",
    "BUILD_TASK",
    "CHAINS",
    "CONCLUDING",
    "DASHBOARDS",
    "DRILL",
    "DRILLED",
    "DRILL_TASK",
    "DUMP_TASK",
    "DUTIES",
    "ENCRYPT_TASK",
    "ETL",
    "EXTRACT_TASK",
    "LOAD_TASK",
    "MART",
    "MARTS",
    "OPEN_TASK",
    "PROGRAM",
    "PROGRAM_TASK",
    "RECOVERED",
    "SOURCE",
    "SOURCE_TASK",
    "SURFACE",
    "TABLE",
    "UPLOAD_TASK",
    "VALIDATE_TASK",
    "VERIFY_TASK",
    "Chain",
    "Duty",
    "DutyKind",
    "Need",
    "Part",
    "Subject",
    "Task",
    "find",
    "named",
    "of_family",
    "of_module",
]

# The steps with which a table, or a mart, is what the run was to make of it.
CONCLUDING = (*ETL.concluding(TABLE), *MARTS.concluding(MART))

_BY_NAME = {chain.name: chain for chain in CHAINS}
_BY_TASK = {task.name: chain for chain in CHAINS for task in chain.tasks}
_BY_MODULE = {chain.module: chain for chain in CHAINS}
_BY_FAMILY = {chain.family(task.name): (chain, task) for chain in CHAINS for task in chain.tasks}


def named(name: str) -> Chain | None:
    """Return the chain of that name, None if there is none."""
    return _BY_NAME.get(name)


def of_module(module: str) -> Chain | None:
    """Return the chain whose Luigi tasks are in that module; None for any other.

    >>> of_module("tasks.backup").name
    'backup'
    """
    return _BY_MODULE.get(module)


def find(task: str) -> Chain | None:
    """Return the chain that has a task of that class, as the ledger calls it; None for anybody else's.

    >>> find("ExtractTable").name
    'etl'
    """
    return _BY_TASK.get(task)


def of_family(family: str) -> tuple[Chain, Task] | None:
    """Return the chain and the task that Luigi calls so; None for anybody else's.

    >>> chain, task = of_family("backup.DumpDatabase")
    >>> chain.name, task.name
    ('backup', 'DumpDatabase')
    """
    return _BY_FAMILY.get(family)
