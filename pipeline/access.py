"""Opens the databases that the settings name, with credentials fetched from Vault for one step alone."""

import contextlib
from collections.abc import Iterator

from pipeline import postgres, vault
from pipeline.settings import DatabaseSettings, Settings

# A source is somebody's production database: nothing of ours may wait or run there for ever.
SOURCE_SESSION = {
    "lock_timeout": "30s",
    "statement_timeout": "4h",
    # The snapshot of a night is held idle on purpose.
    "idle_in_transaction_session_timeout": "0",
    "default_transaction_read_only": "on",
}


class Access:
    """One step's way to its databases. Each credential is fetched once, and given back at the end."""

    def __init__(self, settings: Settings, session: vault.Vault, stack: contextlib.ExitStack) -> None:
        self.settings = settings
        self.vault = session
        self._stack = stack
        self._uris: dict[str, str] = {}

    def _uri(self, database: DatabaseSettings) -> str:
        if database.secret not in self._uris:
            self._uris[database.secret] = self._stack.enter_context(self.vault.database_uri(database))
        return self._uris[database.secret]

    def warehouse_uri(self) -> str:
        """Return the warehouse's address with its credential, for a driver of another's."""
        return self._uri(self.settings.require_warehouse())

    def warehouse(
        self, *, autocommit: bool = False
    ) -> contextlib.AbstractContextManager[postgres.Connection]:
        """Open the warehouse."""
        return postgres.connection(
            self._uri(self.settings.require_warehouse()), "the warehouse", autocommit=autocommit
        )

    def source(self, name: str) -> contextlib.AbstractContextManager[postgres.Connection]:
        """Open a source, for reading only."""
        return postgres.connection(
            self._uri(self.settings.source(name)), f"source {name}", session=SOURCE_SESSION
        )


@contextlib.contextmanager
def opened(settings: Settings) -> Iterator[Access]:
    """Log in to Vault for one step. Raise UnreachableError if Vault does not let us in."""
    with vault.session(settings.vault) as session, contextlib.ExitStack() as stack:
        yield Access(settings, session, stack)
