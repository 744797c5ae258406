"""Who may what in Metabase: everybody sees our collections and their cards, and asks nothing else."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from pipeline.errors import StepError
from pipeline.metabase import ALL_USERS, Client, RefusedError, versions

DATA, COLLECTIONS = "/api/permissions/graph", "/api/collection/graph"
# Somebody may change permissions at the same time; not again and again.
TRIES = 3

Groups = Mapping[str, Mapping[str, Any]]


def wanted(client: Client, database: int, collections: Sequence[int]) -> dict[str, Groups]:
    """Return by the path of each graph what everybody is to have in it."""
    everybody = str(versions.group(client.get("/api/permissions/group"), ALL_USERS))
    return {
        DATA: {everybody: {str(database): {"view-data": "unrestricted", "create-queries": "no"}}},
        COLLECTIONS: {everybody: {str(number): "read" for number in collections}},
    }


def differences(client: Client, asked: Mapping[str, Groups]) -> list[str]:
    """Return the graphs in which everybody has something else."""
    return [path for path, groups in asked.items() if not _holds(client.get(path), groups)]


def keep(client: Client, asked: Mapping[str, Groups]) -> list[str]:
    """Give everybody just that, and return the graphs that were changed. Others' permissions stay."""
    return [path for path, groups in asked.items() if _put(client, path, groups)]


def _put(client: Client, path: str, groups: Groups) -> bool:
    for attempt in range(1, TRIES + 1):
        graph = client.get(path)
        if _holds(graph, groups):
            return attempt > 1
        try:
            client.put(path, {"revision": graph["revision"], "groups": groups})
        except RefusedError as error:
            # Changed since it was looked at.
            if error.status != HTTPStatus.CONFLICT or attempt == TRIES:
                raise
            continue
        if not _holds(client.get(path), groups):
            raise StepError(
                f"Metabase did not accept the permissions at {path}", hint="see its Admin settings"
            )
        return True
    return False


def _holds(graph: Mapping[str, Any], groups: Groups) -> bool:
    by_group = graph.get("groups") or {}
    return all(
        versions.grants(by_group.get(group, {}).get(what), may)
        for group, asked in groups.items()
        for what, may in asked.items()
    )
