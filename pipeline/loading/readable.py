"""Whether the declared tables of a live source can be read at all, before a night finds out."""

from pipeline import postgres
from pipeline.catalog import Source
from pipeline.errors import StepError
from pipeline.loading.shapes import desired
from pipeline.postgres import Connection
from pipeline.warehouse import shape


def problems(source: Connection, declared: Source) -> list[str]:
    """Return a line, with its hint, for each declared table that is not there or that our role may not read.

    Raise LostError if the source does not answer any more.
    """
    lines = []
    for table in declared.tables.values():
        try:
            with postgres.explained(""):
                current = shape.read(source, table.schema_name, table.relation, table)
            key = desired.key_of(table, current, None)
            # Nothing is hashed here: which key that would be by is of no matter.
            wanted = desired.shape_of(table, current, None, (), key, lambda: "")
            desired.require_readable(table, wanted)
        except StepError as error:
            lines.append(str(error.named(f"{table.source}.{table.name}")))
    return lines
