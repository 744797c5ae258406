"""Luigi's central scheduler with its visualizer, its task history in the warehouse: `pipeline scheduler`."""

import argparse
import logging
import os
from pathlib import Path

import luigi.configuration
import luigi.server
import sqlalchemy
from luigi.scheduler import Scheduler

from pipeline import access, migrations, settings
from pipeline.settings import Settings

logger = logging.getLogger(__name__)

# The history is written in the scheduler's only thread: a warehouse that does not answer must not stop it.
HISTORY_OPTIONS = "-c search_path=ops -c statement_timeout=3s -c lock_timeout=1s"
HISTORY_CONNECT_SECONDS = 3


def history_url(warehouse_uri: str) -> str:
    """Return the address of Luigi's task history in the warehouse, in SQLAlchemy's form."""
    url = sqlalchemy.make_url(warehouse_uri).set(drivername="postgresql+psycopg2")
    query = {"options": HISTORY_OPTIONS, "connect_timeout": str(HISTORY_CONNECT_SECONDS)}
    return url.update_query_dict(query).render_as_string(hide_password=False)


def serve(configured: Settings, address: str, port: int, state_path: Path) -> None:
    """Serve the scheduler until SIGTERM, which saves its state."""
    config = luigi.configuration.get_config()
    for source, declared in configured.sources.items():
        config.set("resources", f"source {source}", str(declared.connections))
    # Luigi loads this file with pickle: nobody else may write it.
    os.umask(0o077)
    config.set("scheduler", "state_path", str(state_path))
    with access.opened(configured) as databases:
        # In memory only: the credential is in no file.
        # Two schedulers that start at once on an empty warehouse would trip over each other's tables.
        migrations.migrate(databases.warehouse_uri())
        config.set("task_history", "db_connection", history_url(databases.warehouse_uri()).replace("%", "%%"))
        config.set("scheduler", "record_task_history", "true")
        scheduler = Scheduler()
        logger.info("the visualizer is at http://%s:%s", address, port)
        # Inside the block: a login that Vault made for us is kept alive in it, and ends with it.
        luigi.server.run(api_port=port, address=address, scheduler=scheduler)


def main() -> None:
    """Serve the scheduler as the command line says."""
    parser = argparse.ArgumentParser(prog="pipeline scheduler", description=__doc__)
    parser.add_argument(
        "--address", default="127.0.0.1", help="the address to listen on (default: %(default)s)"
    )
    parser.add_argument("--port", type=int, default=8082, help="the port to listen on (default: %(default)s)")
    parser.add_argument(
        "--state-path",
        type=Path,
        default=Path("/var/lib/pipeline/scheduler.pickle"),
        help="the file that keeps the state over a restart (default: %(default)s)",
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    serve(settings.read(), arguments.address, arguments.port, arguments.state_path)


if __name__ == "__main__":
    main()
