"""The servers of a sandbox. One more Python server is one more line."""

from pathlib import Path

from pipeline.sandbox.home import Home
from pipeline.sandbox.ports import ADDRESS
from pipeline.sandbox.servers import backup_store
from pipeline.sandbox.servers.clusters import Cluster
from pipeline.sandbox.servers.server import PythonServer, Server
from pipeline.sandbox.servers.vault_server import VaultServer

CLUSTERS: list[Server] = [Cluster("sources", 15432), Cluster("warehouse", 15433), Cluster("drill", 15434)]


def _b2(home: Home) -> list[str | Path]:
    return ["--home", home.path / backup_store.NAME]


# The credentials are in these and about these, so they come first.
FOUNDATIONS: list[Server] = [
    *CLUSTERS,
    VaultServer("vault", 18200),
    PythonServer(backup_store.NAME, 18300, "pipeline.sandbox.b2", _b2),
]


def _webhooks(home: Home) -> list[str | Path]:
    return ["--address", ADDRESS, "--file", home.webhooks_file]


def _scheduler(home: Home) -> list[str | Path]:
    return ["--address", ADDRESS, "--state-path", home.path / "luigi" / "state.pickle"]


# These start when settings and credentials are there. Their port follows the arguments given here.
OTHERS: list[Server] = [
    PythonServer("webhooks", 18080, "pipeline.sandbox.servers.webhooks", _webhooks),
    PythonServer("luigid", 8082, "tasks.scheduler", _scheduler),
]

ALL = [*FOUNDATIONS, *OTHERS]
