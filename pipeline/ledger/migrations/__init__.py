"""Makes and upgrades the warehouse's own tables: the ledger, and Luigi's task history."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy.pool import NullPool

from pipeline import COMMIT, __version__, postgres
from pipeline.errors import StepError
from pipeline.postgres import locks
from pipeline.redact import redact

# The oldest PostgreSQL that a warehouse may be.
OLDEST = 14
# Any number that nobody else uses: what every migration of this warehouse waits for.
LOCK = 0x706970656C696E65
SCHEMA = "ops"


def migrate(warehouse_uri: str) -> str:
    """Bring the warehouse's own tables to the newest revision and return its name.

    Safe to run any number of times, and at once. All or nothing: one transaction.
    Raise UnreachableError if the warehouse cannot be reached or lets us not in, StepError if it refuses, or
    if a later release has upgraded them already: there is no way back, and nothing is changed.
    """
    try:
        with _locked(warehouse_uri) as connection:
            connection.execute(sqlalchemy.text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
            # Luigi's tables carry no schema of their own.
            connection.execute(sqlalchemy.text(f"SET LOCAL search_path = {SCHEMA}"))
            return _upgrade(connection)
    except sqlalchemy.exc.DBAPIError as error:
        outage = postgres.environmental(error.orig) if isinstance(error.orig, postgres.Error) else None
        raise outage or StepError(f"the warehouse could not be migrated: {_message_of(error)}") from None


@contextlib.contextmanager
def _locked(warehouse_uri: str) -> Iterator[sqlalchemy.Connection]:
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg2://",
        # Opened as every session of ours is.
        creator=lambda: postgres.open_session(warehouse_uri, "the warehouse"),
        poolclass=NullPool,
        hide_parameters=True,
    )
    with engine.begin() as connection:
        opened: Any = connection.connection.dbapi_connection
        if why := postgres.read_only(opened):
            raise StepError(f"the warehouse: {why}")
        if opened.server_version < OLDEST * 10_000:
            raise StepError(
                f"the warehouse: PostgreSQL {opened.server_version // 10_000} is too old",
                hint=f"upgrade the warehouse to {OLDEST} or later",
                retryable=False,
            )
        locks.give_back_when_stopped(opened)
        locks.take(opened, LOCK)
        yield connection


def _upgrade(connection: sqlalchemy.Connection) -> str:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)

    def steps(revision: Any, context: Any) -> Any:
        known = {each.revision for each in script.walk_revisions()}
        if later := [each for each in context.get_current_heads() if each not in known]:
            head = script.get_current_head()
            ours = f"this release of the pipeline ({__version__} {COMMIT}) knows them up to {head}"
            raise StepError(
                f"the warehouse's own tables are at revision {', '.join(later)}, and {ours}: the "
                "release is older",
                hint="use a release that knows that revision; these tables cannot be downgraded",
                retryable=False,
            )
        return script._upgrade_revs("head", revision)

    with EnvironmentContext(config, script, fn=steps) as context:
        context.configure(connection=connection, version_table_schema=SCHEMA)
        context.run_migrations()
    return script.get_current_head() or ""


def _message_of(error: sqlalchemy.exc.DBAPIError) -> str:
    return redact(" ".join(str(error.orig).split()))
