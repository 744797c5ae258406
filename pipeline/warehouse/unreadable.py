"""What a person does about a table that the source does not have, or does not let us read."""

from pipeline import names, postgres
from pipeline.catalog import Table
from pipeline.errors import StepError
from pipeline.postgres import Connection


def missing(connection: Connection, schema: str, relation: str, table: Table | None) -> StepError:
    """Return that the source has no such relation, with the one that was probably meant."""
    query = """
        SELECT n.nspname::text AS schema_name, c.relname::text AS name
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
          AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
        """
    there = postgres.records(connection, query)
    elsewhere = sorted(one["schema_name"] for one in there if one["name"] == relation)
    close = names.nearest(relation, [one["name"] for one in there if one["schema_name"] == schema])
    known = ""
    if elsewhere:
        known = f' (schema "{elsewhere[0]}" has one)'
    elif close:
        known = f' (the source has "{close}")'
    if table is None:
        hint = f"correct its schema or its name{known}"
    elif table.by_wildcard:
        hint = f"create it again, or {leave_out(table)}"
    else:
        hint = f"correct its schema or table in {table.file}{known}, or remove {table.name} there"
    fact = f'there is no table or view "{relation}" in schema "{schema}" of the source'
    return StepError(fact, hint=hint, retryable=False)


def leave_out(table: Table) -> str:
    """Return how to have a table loaded no more: the end of a hint."""
    return (
        f"write {table.relation} under leave in {table.file}"
        if table.by_wildcard
        else f"remove {table.name} from {table.file}"
    )
