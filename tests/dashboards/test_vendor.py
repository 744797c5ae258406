"""Metabase's own tools judge what is exported, what we send, and what the stand-in answers."""

from pathlib import Path

import pytest
from jsonschema import Draft202012Validator as Validator

from pipeline import dashboards
from tests.dashboards.surfaces import Surface
from tests.support.metabase.tools import Mb, Tools, installed

VALIDATOR = "@metabase/representations/dist/bin/cli.js"


@pytest.fixture(scope="module")
def tools() -> Tools:
    """Metabase's tools."""
    return installed()


def test_what_is_exported_is_as_metabases_own_schemas_say(
    surface: Surface, tools: Tools, tmp_path: Path
) -> None:
    folder = tmp_path / "export"
    outcome = dashboards.export(surface.settings, surface.declared, folder)
    files = sorted(folder.rglob("*.yaml"))
    assert (len(files), outcome.problems) == (len(outcome.changes), [])
    checked = tools.run(VALIDATOR, "validate-schema", "--folder", str(folder), env={})
    assert checked.returncode == 0, checked.stdout
    assert f"{len(files)} passed, 0 failed" in checked.stdout
    card = folder / "collections/main/school/staff/heads.yaml"
    card.write_text(card.read_text().replace("display: pie", "display: cake"))
    checked = tools.run(VALIDATOR, "validate-schema", "--folder", str(folder), env={})
    assert checked.returncode == 1
    assert "1 failed" in checked.stdout
    assert "heads.yaml (Card)" in checked.stderr


@pytest.fixture
def mb(surface: Surface, tools: Tools, tmp_path: Path) -> Mb:
    """Metabase's client, logged in with our key where our dashboards are."""
    surface.apply()
    entry = surface.night.platform.sandbox.vault.read(f"{surface.entry}/api_key")
    assert entry is not None
    return Mb(tools, tmp_path, surface.metabase.url, entry["api_key"])


@pytest.mark.endurance
def test_metabases_client_understands_what_the_stand_in_answers(surface: Surface, mb: Mb) -> None:
    database = str(surface.kept()["database"].number)
    card, board, group = (
        str(surface.kept()[key].number)
        for key in ("card enrolment: Students", "dashboard staff", "collection staff")
    )
    (found,) = mb("db", "list")["data"]
    assert (found["name"], found["engine"]) == ("Warehouse", "postgres")
    tables = mb("db", "get", database, "--include", "tables.fields")["tables"]
    assert {one["name"] for one in tables} >= {"enrolment", "staff"}
    assert mb("collection", "items", group)["total"] == 3
    assert mb("card", "get", card, "--full")["dataset_query"]["stages"][0]["native"].startswith("SELECT sum")
    assert mb("card", "query", card)["data"]["rows"] == [[97]]
    shown = mb("dashboard", "get", board, "--full")
    assert [tab["name"] for tab in shown["tabs"]] == ["Overview", "List"]
    assert len(mb("dashboard", "cards", board)["data"]) == 2
    assert mb("setting", "get", "anon-tracking-enabled")["value"] is False


@pytest.mark.endurance
def test_what_metabases_client_sends_the_stand_in_takes(surface: Surface, mb: Mb) -> None:
    kept = surface.kept()
    group = mb("collection", "create", body={"name": "Theirs"})["id"]
    query = {
        "lib/type": "mbql/query",
        "database": kept["database"].number,
        "stages": [{"lib/type": "mbql.stage/native", "native": "SELECT 7 AS n"}],
    }
    body = {"name": "Seven", "display": "scalar", "dataset_query": query, "visualization_settings": {}}
    card = mb("card", "create", body={**body, "collection_id": group})["id"]
    placed = {"id": -1, "card_id": card, "row": 0, "col": 0, "size_x": 6, "size_y": 3, "dashboard_tab_id": -1}
    board = mb(
        "dashboard",
        "create",
        body={
            "name": "Theirs",
            "collection_id": group,
            "dashcards": [placed],
            "tabs": [{"id": -1, "name": "One"}],
        },
    )["id"]
    (there,) = mb("dashboard", "get", str(board))["dashcards"]
    assert (there["card_id"], there["size_x"]) == (card, 6)
    mb("card", "archive", str(card))
    table = next(one for one in surface.metabase.routes.tables if one["name"] == "staff")
    mb("table", "update", str(table["id"]), body={"description": "Who works here."})
    mb("db", "sync-schema", str(kept["database"].number))
    assert surface.meant()["staff"] == "Who works here."
    # And none of it is taken for ours.
    assert surface.apply().others == []
    assert "Theirs" in surface.metabase.named("dashboard")


# By our request: the command of theirs that makes the same, and what we may leave to the server.
COMMANDS = {
    "POST /api/setup": "setup",
    "POST /api/collection": "collection create",
    "POST /api/card": "card create",
    "PUT /api/card/:id": "card update",
    "POST /api/dashboard": "dashboard create",
    "PUT /api/dashboard/:id": "dashboard update",
    "PUT /api/table/:id": "table update",
    "PUT /api/field/:id": "field update",
}


# Of these their client says nothing.
UNKNOWN_ROUTES = {
    "PUT /api/setting/:key",
    "POST /api/api-key",
    "PUT /api/permissions/graph",
    "PUT /api/collection/graph",
    "PUT /api/collection/:id",
    "POST /api/database",
    "PUT /api/database/:id",
    "POST /api/database/:id/sync_schema",
}
# Nor of these keys, which their server's own source has.
UNKNOWN_KEYS = {"PUT /api/dashboard/:id: auto_apply_filters"}


def test_what_we_send_is_as_metabases_client_sends_it(surface: Surface, mb: Mb) -> None:
    inputs = {route: mb(*command.split(), "--help")["inputSchema"] for route, command in COMMANDS.items()}
    schemas = {route: Validator(schema) for route, schema in inputs.items()}
    assert {route for route, _ in surface.metabase.sent} == set(COMMANDS) | UNKNOWN_ROUTES
    sent = [(route, body) for route, body in surface.metabase.sent if route in schemas]
    faults = [
        f"{route}: {fault.json_path}: {fault.message}"
        for route, body in sent
        for fault in schemas[route].iter_errors(body)
    ]
    assert faults == []
    # Their schemas let any other key pass, and further down name not all: a misspelt one is looked for.
    unknown = {
        f"{route}: {key}" for route, body in sent for key in set(body) - set(inputs[route]["properties"])
    }
    assert unknown == UNKNOWN_KEYS
