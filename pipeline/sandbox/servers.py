"""The servers of a sandbox. One more Python server is one more line."""

from pipeline.sandbox.clusters import Cluster
from pipeline.sandbox.home import PROJECT, Home
from pipeline.sandbox.server import PythonServer, Server
from pipeline.sandbox.vault_server import VaultServer

CLUSTERS: list[Server] = [Cluster("sources", 15432), Cluster("warehouse", 15433), Cluster("drill", 15434)]
# The credentials are in these and about these, so they come first.
FOUNDATIONS: list[Server] = [*CLUSTERS, VaultServer("vault", 18200)]


def _scheduler_arguments(home: Home) -> list[str]:
    return ["--state-path", str(home.path / "luigi" / "state.pickle")]


def _webhooks_arguments(home: Home) -> list[str]:
    return ["--file", str(home.webhooks_file)]


# These start when settings and credentials are there.
OTHERS: list[Server] = [
    PythonServer("webhooks", 18080, "pipeline.sandbox.webhooks", _webhooks_arguments),
]
if (PROJECT / "pipeline" / "vault.py").exists():
    OTHERS.append(PythonServer("luigid", 8082, "tasks.scheduler", _scheduler_arguments))

ALL = [*FOUNDATIONS, *OTHERS]
