"""What a kind of check is: how it is written, what is told of it offline, and how it is looked at."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from psycopg2.sql import Composable

from pipeline.catalog.check_kinds.outcome import Result, Rows
from pipeline.catalog.document import Path
from pipeline.catalog.ruled import Ruled

Mistakes = Iterator[tuple[Path, str]]


class TableCheck(Ruled):
    """A check of a table or a mart.

    It is written as a mapping with one key of its own, beside those that all rules have. A subclass in a
    module of this package declares that key as its one field, and is known by it from then on.

    The methods of the class work on what is written below that key, whatever it is; a value of the wrong form
    is told elsewhere.
    """

    kind: ClassVar[str] = ""
    """The check's own key."""
    usage: ClassVar[str]
    """How it is written, for the guide: its key, and what may stand below it."""
    holds_if: ClassVar[str]
    """What is true of a table that passes it, for the guide: the end of a sentence, in Markdown."""
    names_rows: ClassVar[bool] = True
    """Whether it tells single rows, which can be set aside."""

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        (cls.kind,) = cls.model_fields.keys() - Ruled.model_fields.keys()

    @classmethod
    def columns_in(cls, rule: Any) -> list[str]:
        """Return the columns of the table that it names outside of SQL."""
        del rule
        return []

    @classmethod
    def tables_in(cls, rule: Any) -> list[tuple[Path, str]]:
        """Return the tables that it looks into beside its own, each with where that is written."""
        del rule
        return []

    @classmethod
    def query_in(cls, rule: Any) -> str | None:
        """Return the SQL that is written there, if it is that."""
        del rule
        return None

    @classmethod
    def mistakes(cls, rule: Any, masks: Mapping[str, str], tables: Mapping[str, Any]) -> Mistakes:
        """Yield what makes no sense beside the table's masks and the other tables of the file.

        Each with its place within the check: empty, or beginning with the check's own key.
        """
        del rule, masks, tables
        yield from ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the table that it names outside of SQL."""
        return tuple(self.columns_in(self.model_dump()[self.kind]))

    @property
    def others(self) -> tuple[str, ...]:
        """The tables that it looks into beside its own."""
        return ()

    @property
    def query(self) -> Composable | None:
        """The query that an analyst wrote, if it is that."""
        return None

    def evaluate(self, rows: Rows) -> Iterator[Result]:
        """Yield how the rows come out. What the warehouse refuses to compute is raised as it comes."""
        raise NotImplementedError
