"""Quality: what is declared of rows, of tables and marts alike, looked at before anyone sees them."""

from collections.abc import Iterator

from pipeline.catalog.check_kinds import CANDIDATE, Result
from pipeline.postgres import Connection
from pipeline.quality.asked import foreign_constant
from pipeline.quality.columns import of_columns
from pipeline.quality.declared import of_declared, require_pure
from pipeline.quality.result import how_to_fix
from pipeline.quality.subject import Subject, duplicates, naming

__all__ = [
    "CANDIDATE",
    "Result",
    "Subject",
    "check",
    "duplicates",
    "foreign_constant",
    "how_to_fix",
    "naming",
    "require_pure",
]


def check(warehouse: Connection, subject: Subject) -> Iterator[Result]:
    """Look at the rows of CANDIDATE; yield how each rule and check of the subject came out."""
    yield from of_columns(warehouse, subject)
    yield from of_declared(warehouse, subject)
