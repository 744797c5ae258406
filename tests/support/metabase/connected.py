"""The stand-in's connections to warehouses, what it knows of their tables, and the running of cards."""

from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from tests.support.metabase import warehouse
from tests.support.metabase.bodies import AnsweredError
from tests.support.metabase.content import NOT_FOUND, Content
from tests.support.metabase.instance import CREATE_QUERIES, EVERYBODY, Instance


class Connected(Instance):
    """An instance with what it shows."""

    def __init__(self, version: str) -> None:
        super().__init__(version)
        self.content = Content(int(version.split(".")[1]))
        self.databases: dict[int, dict[str, Any]] = {}
        self.tables: list[dict[str, Any]] = []
        # A look at the tables that was asked for is done beside what follows it.
        self.syncing: set[int] = set()
        self.syncs = 0

    def get_database(self, inside: list[str], _body: Any, query: Mapping[str, list[str]], *_: Any) -> Any:
        if not inside:
            return {
                "data": [self._masked(one) for one in self.databases.values()],
                "total": len(self.databases),
            }
        known = self._masked(self._database(inside))
        return known | ({"tables": self.tables} if query.get("include") == ["tables.fields"] else {})

    def _database(self, inside: list[str]) -> dict[str, Any]:
        if int(inside[0]) not in self.databases:
            raise AnsweredError(HTTPStatus.NOT_FOUND, NOT_FOUND)
        return self.databases[int(inside[0])]

    def _masked(self, one: Mapping[str, Any]) -> dict[str, Any]:
        return {**one, "details": {**one["details"], "password": warehouse.MASKED}}

    def post_database(self, _inside: Any, body: Any, *_: Any) -> Any:
        warehouse.connect(body["details"]).close()
        number = self.content.number()
        made_at = datetime.now(UTC).isoformat()
        self.databases[number] = {
            "id": number,
            "created_at": made_at,
            "initial_sync_status": "incomplete",
            **body,
        }
        self.syncing.add(number)
        may = {"view-data": "unrestricted", "create-queries": CREATE_QUERIES[0]}
        self.graphs["permissions"]["groups"].setdefault(str(EVERYBODY), {})[str(number)] = may
        return self._masked(self.databases[number])

    def put_database(self, inside: list[str], body: Any, *_: Any) -> Any:
        known = self._database(inside)
        details = dict(body.get("details") or {})
        if details.get("password") == warehouse.MASKED:
            del details["password"]
        merged = {**known["details"], **details}
        warehouse.connect(merged).close()
        known.update({**{key: value for key, value in body.items() if value is not None}, "details": merged})
        return self._masked(known)

    def post_database_sync_schema(self, inside: list[str], *_: Any) -> Any:
        self._database(inside)
        self.syncing.add(int(inside[0]))
        self.syncs += 1
        return {"status": "ok"}

    def get_database_metadata(self, inside: list[str], *_: Any) -> Any:
        known = self._database(inside)
        answer = {
            **self._masked(known),
            "tables": [{**one, "fields": list(one["fields"])} for one in self.tables],
        }
        if known["id"] in self.syncing:
            self.syncing.discard(known["id"])
            self._sync(known)
        return answer

    def _sync(self, known: dict[str, Any]) -> None:
        """Know the tables as they are; of what is known already the numbers and descriptions stay."""
        tables: dict[tuple[str, str], dict[str, Any]] = {}
        before = {(one["schema"], one["name"]): one for one in self.tables}
        for schema, table, column, kind in warehouse.columns(known["details"]):
            old = before.get((schema, table)) or {
                "id": self.content.number(),
                "db_id": known["id"],
                "display_name": table.title(),
                "description": None,
                "entity_type": "entity/GenericTable",
                "fields": [],
            }
            new = tables.setdefault((schema, table), {**old, "schema": schema, "name": table, "fields": []})
            field = next((one for one in old["fields"] if one["name"] == column), None)
            made = {
                "id": self.content.number(),
                "table_id": old["id"],
                "name": column,
                "display_name": column.title(),
                "description": None,
                "semantic_type": None,
                "fk_target_field_id": None,
                "schema": schema,
                "table": table,
            }
            new["fields"].append({**(field or made), "base_type": kind})
        self.tables = list(tables.values())
        known["initial_sync_status"] = "complete"

    def put_table(self, inside: list[str], body: Any, *_: Any) -> Any:
        found = next(one for one in self.tables if one["id"] == int(inside[0]))
        found.update(body)
        return found

    def put_field(self, inside: list[str], body: Any, *_: Any) -> Any:
        found = self.fields[int(inside[0])]
        found.update(body)
        return found

    @property
    def fields(self) -> dict[int, dict[str, Any]]:
        """Return the columns that are known, by number."""
        return {field["id"]: field for one in self.tables for field in one["fields"]}

    def run(self, number: int, values: Mapping[str, Any]) -> dict[str, Any]:
        """Run a card, with the login of its database, and values of its tags."""
        query = self.content.find("card", number)["query"]
        try:
            sql = warehouse.substituted(query["sql"], query["tags"], values, self.fields)
        except AnsweredError as answered:
            found: dict[str, Any] = answered.body
            return found
        return warehouse.run(self.databases[query["database"]]["details"], sql)
