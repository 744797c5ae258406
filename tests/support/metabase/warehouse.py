"""The warehouse as Metabase sees it: connections tried, tables looked at, cards run."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import psycopg2

from tests.support.metabase.bodies import AnsweredError

MASKED = "**MetabasePass**"
TYPES = {
    "integer": "type/Integer",
    "bigint": "type/BigInteger",
    "smallint": "type/Integer",
    "numeric": "type/Decimal",
    "double precision": "type/Float",
    "real": "type/Float",
    "text": "type/Text",
    "character varying": "type/Text",
    "date": "type/Date",
    "timestamp with time zone": "type/DateTimeWithLocalTZ",
    "boolean": "type/Boolean",
}
COLUMNS = """
    SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns
    WHERE table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2, ordinal_position
"""
OPTIONAL = re.compile(r"\[\[(.*?)\]\]", re.DOTALL)
TAG = re.compile(r"\{\{\s*(\w+)\s*\}\}")


def connect(details: Mapping[str, Any]) -> Any:
    """Connect as these details say. Answer 400 with the reason if that cannot be."""
    try:
        return psycopg2.connect(
            host=details.get("host"),
            port=details.get("port"),
            dbname=details.get("dbname"),
            user=details.get("user"),
            password=details.get("password"),
            connect_timeout=5,
            sslmode="require" if details.get("ssl") else "prefer",
        )
    except psycopg2.Error as error:
        message = str(error).strip()
        raise AnsweredError(
            HTTPStatus.BAD_REQUEST, {"message": message, "errors": {"password": message}, "valid": False}
        ) from None


def columns(details: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return what the login may read: schema, table, column and base type."""
    connection = connect(details)
    try:
        with connection.cursor() as cursor:
            cursor.execute(COLUMNS)
            return [
                (schema, table, column, TYPES.get(kind, "type/*"))
                for schema, table, column, kind in cursor.fetchall()
            ]
    finally:
        connection.close()


def run(details: Mapping[str, Any], sql: str) -> dict[str, Any]:
    """Run a query, and answer as for a card: a query that fails is a 202 as well."""
    connection = connect(details)
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            cols = [{"name": column.name} for column in cursor.description or ()]
            rows = [list(row) for row in cursor.fetchall()]
    except psycopg2.Error as error:
        return {"status": "failed", "error": str(error).strip(), "data": {"rows": [], "cols": []}}
    finally:
        connection.close()
    return {"status": "completed", "row_count": len(rows), "data": {"rows": rows, "cols": cols}}


def substituted(
    sql: str,
    tags: Mapping[str, Mapping[str, Any]],
    values: Mapping[str, Any],
    fields: Mapping[int, Mapping[str, Any]],
) -> str:
    """Return SQL with the values of its tags: optional parts without one are left out.

    A condition that is made of a column names schema and table as they are: an alias in FROM breaks it.
    """

    def optional(match: re.Match[str]) -> str:
        inside = match[1]
        return inside if all(values.get(tag) for tag in TAG.findall(inside)) else ""

    def tag(match: re.Match[str]) -> str:
        declared = tags.get(match[1])
        if declared is None:
            raise AnsweredError(HTTPStatus.BAD_REQUEST, {"message": f"no template tag {match[1]}"})
        value = values.get(match[1])
        if declared["type"] != "dimension":
            if not value:
                raise AnsweredError(
                    HTTPStatus.ACCEPTED, {"status": "failed", "error": f"pick a value for {match[1]}"}
                )
            return _literal(value[0] if isinstance(value, list) else value)
        if not value:
            return "1 = 1"
        number = next(one for one in declared["dimension"][1:] if isinstance(one, int))
        field = fields[number]
        column = f'"{field["schema"]}"."{field["table"]}"."{field["name"]}"'
        if declared["widget-type"].startswith("date"):
            first, _, last = str(value).partition("~")
            return f"{column} BETWEEN date '{first}' AND date '{last}'"
        listed = value if isinstance(value, list) else [value]
        return f"{column} IN ({', '.join(map(_literal, listed))})"

    return TAG.sub(tag, OPTIONAL.sub(optional, sql))


def _literal(value: Any) -> str:
    return str(value) if isinstance(value, int | float) else "'" + str(value).replace("'", "''") + "'"
