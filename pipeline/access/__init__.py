"""The way to databases and bucket, with credentials that Vault gives at run time: for one step, or shared."""

from pipeline.access.databases import (
    ANALYST_SESSION,
    BACKUP_SESSION,
    SOURCE_SESSION,
    Access,
    opened,
    restoring,
)
from pipeline.access.shared import brief, end_brief, end_idle, for_step, one_step

__all__ = [
    "ANALYST_SESSION",
    "BACKUP_SESSION",
    "SOURCE_SESSION",
    "Access",
    "brief",
    "end_brief",
    "end_idle",
    "for_step",
    "one_step",
    "opened",
    "restoring",
]
