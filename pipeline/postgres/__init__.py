"""PostgreSQL, by psycopg2: connections, statements, and rows copied from one server to another."""

import psycopg2
import psycopg2.errors

from pipeline.postgres.copying import copy
from pipeline.postgres.failures import (
    REFUSALS,
    Session,
    environmental,
    explained,
    hint_of_hidden_rows,
    is_lost,
    message_of,
)
from pipeline.postgres.imposed import read_only
from pipeline.postgres.passfile import unseen
from pipeline.postgres.session import (
    CONDUCT,
    CONNECT_TIMEOUT_SECONDS,
    ENCODING,
    SESSION,
    answered,
    cleared,
    codec,
    connection,
    for_transaction,
    open_session,
    options,
    unheeded,
    used,
)
from pipeline.postgres.statements import (
    Composable,
    Connection,
    columns,
    identifier,
    read,
    records,
    row,
    rows,
    statement,
    value,
)
from pipeline.postgres.uri import KEEPALIVES, address, plain, program_environment, with_options
from pipeline.postgres.waiting import keeper, kept, legible, process, waits_for

__all__ = [
    "CONDUCT",
    "CONNECT_TIMEOUT_SECONDS",
    "CORRUPTED",
    "ENCODING",
    "GONE",
    "KEEPALIVES",
    "REFUSALS",
    "SESSION",
    "Composable",
    "Connection",
    "Error",
    "InsufficientPrivilege",
    "InvalidColumnReference",
    "InvalidSchemaName",
    "LockNotAvailable",
    "OutOfMemory",
    "QueryCanceled",
    "Session",
    "UndefinedColumn",
    "UndefinedTable",
    "address",
    "answered",
    "cleared",
    "codec",
    "columns",
    "connection",
    "copy",
    "environmental",
    "explained",
    "for_transaction",
    "hint_of_hidden_rows",
    "identifier",
    "is_lost",
    "keeper",
    "kept",
    "legible",
    "message_of",
    "open_session",
    "options",
    "plain",
    "process",
    "program_environment",
    "read",
    "read_only",
    "records",
    "row",
    "rows",
    "statement",
    "unheeded",
    "unseen",
    "used",
    "value",
    "waits_for",
    "with_options",
]

Error = psycopg2.Error
LockNotAvailable = psycopg2.errors.LockNotAvailable
InsufficientPrivilege = psycopg2.errors.InsufficientPrivilege
InvalidColumnReference = psycopg2.errors.InvalidColumnReference
InvalidSchemaName = psycopg2.errors.InvalidSchemaName
UndefinedColumn = psycopg2.errors.UndefinedColumn
UndefinedTable = psycopg2.errors.UndefinedTable
OutOfMemory = psycopg2.errors.OutOfMemory
QueryCanceled = psycopg2.errors.QueryCanceled
# What a name stood for a moment ago is not there any more, or is something else.
GONE = (
    psycopg2.errors.UndefinedTable,
    psycopg2.errors.InvalidSchemaName,
    psycopg2.errors.WrongObjectType,
)
CORRUPTED = (psycopg2.errors.IndexCorrupted, psycopg2.errors.DataCorrupted)
