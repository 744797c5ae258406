"""Opens the databases that the settings name, with credentials fetched from Vault for one step alone."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from pipeline import mask, postgres, vault
from pipeline.errors import LostError, PipelineError, UnreachableError
from pipeline.settings import DatabaseSettings, Settings

if TYPE_CHECKING:
    from pipeline.bucket import Bucket, RetryPolicy

READ_ONLY = {"default_transaction_read_only": "on"}

# A source is somebody's production database: nothing of ours may wait or run there for ever.
SOURCE_SESSION = {
    "lock_timeout": "30s",
    "statement_timeout": "4h",
    # It waits for the warehouse at times; if its process is stopped, the source cannot clean up meanwhile.
    "idle_in_transaction_session_timeout": "6h",
    # Rows that a policy hides from us are an error instead of a gap.
    "row_security": "off",
    **READ_ONLY,
}

# As pg_dump, which takes these limits off itself: nothing is cut short.
BACKUP_SESSION = {**SOURCE_SESSION, "statement_timeout": "0", "idle_in_transaction_session_timeout": "0"}

# What one statement of a mart may take; a whole step is limited by [run] step_minutes.
ANALYST_SESSION = {"statement_timeout": "1h", "lock_timeout": "30s"}

# What one card of a dashboard may take.
DASHBOARDS_SESSION = {"statement_timeout": "1min", "lock_timeout": "10s", **READ_ONLY}

# A connection that was idle for longer is asked first whether it still holds.
IDLE_SECONDS = 1.0


class Access:
    """One step's way to its databases. Each credential is fetched once, and given back at the end."""

    def __init__(self, settings: Settings, session: vault.Vault, stack: contextlib.ExitStack) -> None:
        self.settings = settings
        self.vault = session
        self._stack = stack
        # By the address as well: one role of Vault's may log in to several databases.
        self._uris: dict[tuple[str, str | None], str] = {}
        self._asking: postgres.Session | None = None
        self._asked_at = 0.0
        # A session for work, kept for the next step where there will be one.
        self._spare: postgres.Session | None = None
        self.keeps_spare = False
        # Sessions of sources by which it was asked whether a step can be done, kept for its work.
        self._sources: dict[str, postgres.Session] = {}
        self.keeps_sources = False

    def _uri(self, database: DatabaseSettings) -> str:
        key = (database.secret, database.address)
        if key not in self._uris:
            self._uris[key] = self._stack.enter_context(self.vault.database_uri(database))
            # Before the login is given back over which they are.
            self._stack.callback(self._end_kept)
        return self._uris[key]

    def _open(
        self, database: DatabaseSettings, name: str, *, session: Mapping[str, str] | None = None
    ) -> postgres.Session:
        """Open a session; one whose login is refused is tried again if Vault has another one by now.

        Who was logged in for long, as what waits for a whole run, has what was fetched at its beginning.
        """
        try:
            uri = self._uri(database)
        except UnreachableError:
            if database.dynamic:
                _require_answer(database, name)
            # Where Vault has none to give, that is what is raised.
            raise
        try:
            return postgres.open_session(uri, name, session=session, entry=database.secret)
        except LostError:
            raise
        except UnreachableError:
            newer = self._newer(database, uri)
            if newer == uri:
                raise
        return postgres.open_session(newer, name, session=session, entry=database.secret)

    def _newer(self, database: DatabaseSettings, refused: str) -> str:
        """Return the credential that Vault has now, which is ours from now on; the refused one without it.

        One that Vault makes has ended with the login by which it was made.
        """
        key = (database.secret, database.address)
        # Tables are counted over several connections at once: another of them may have fetched it already.
        if self._uris.get(key) == refused:
            self._uris.pop(key, None)
        try:
            return self._uri(database)
        except UnreachableError:
            self._uris[key] = refused
            return refused

    @contextlib.contextmanager
    def _connected(
        self, database: DatabaseSettings, name: str, session: Mapping[str, str]
    ) -> Iterator[postgres.Connection]:
        """Open a database for the block, as `postgres.connection` does."""
        opened = self._open(database, name, session=session)
        with contextlib.closing(opened), postgres.used(opened):
            yield opened

    def mask_key(self) -> str:
        """Return the key of the hashes that stand for personal values. Raise UnreachableError without one."""
        vault_settings = self.settings.vault
        instruction = mask.instruction(vault_settings.mount, vault_settings.prefix)
        entry = self.vault.read(mask.SECRET, missing=f"make the key of mask: hash there; type: {instruction}")
        if mask.KEY not in entry:
            there = ", ".join(sorted(entry)) or "nothing"
            # The command that makes it writes over no entry: the key may be there by another name.
            raise UnreachableError(
                f'the entry {mask.SECRET} in Vault has no "{mask.KEY}"; it has {there}',
                hint=f'write the key there as "{mask.KEY}"; if there never was one, remove the entry and '
                f"type: {instruction}",
            )
        return entry[mask.KEY]

    def warehouse_uri(self) -> str:
        """Return the warehouse's address with its credential, for a driver of another's."""
        return self._uri(self.settings.require_warehouse())

    @contextlib.contextmanager
    def warehouse(
        self, *, autocommit: bool = False, session: Mapping[str, str] | None = None
    ) -> Iterator[postgres.Connection]:
        """Open the warehouse; `session` are server settings of this connection."""
        opened = self._taken(session)
        with contextlib.ExitStack() as stack:
            stack.callback(opened.close)
            with postgres.used(opened, autocommit=autocommit):
                yield opened
            if self.keeps_spare and session is None and self._spare is None and postgres.cleared(opened):
                self._spare = opened
                stack.pop_all()

    def _taken(self, session: Mapping[str, str] | None) -> postgres.Session:
        """Return the session that was kept, if it still holds and will do, or a new one."""
        spare = self._spare if session is None else None
        if spare is not None:
            self._spare = None
            if self._holds(spare):
                return spare
        return self._open(self.settings.require_warehouse(), "the warehouse", session=session)

    def _end_kept(self) -> None:
        self.end_sources()
        if self._spare is not None:
            self._spare.close()

    @contextlib.contextmanager
    def asking(self) -> Iterator[postgres.Connection]:
        """Give the block the warehouse over one connection for all questions; each commits by itself.

        To open one takes longer than most of what is asked.
        """
        if self._asking is None or not self._holds(self._asking):
            self._asking = self._open(self.settings.require_warehouse(), "the warehouse")
            self._stack.callback(self._asking.close)
            self._asking.autocommit = True
        with postgres.answered(self._asking):
            yield self._asking
        self._asked_at = time.monotonic()

    def _holds(self, connection: postgres.Connection) -> bool:
        if connection.closed or time.monotonic() - self._asked_at < IDLE_SECONDS:
            return not connection.closed
        return self._answers(connection)

    @staticmethod
    def _answers(connection: postgres.Connection) -> bool:
        try:
            postgres.rows(connection, "SELECT 1")
            connection.rollback()
        except postgres.Error:
            connection.close()
            return False
        return True

    def analyst(self) -> contextlib.AbstractContextManager[postgres.Connection]:
        """Open the warehouse as an analyst does: for SQL that is not ours, which may try anything."""
        return self._connected(
            self.settings.require_warehouse().analyst, "the warehouse, as analyst", ANALYST_SESSION
        )

    def dashboards(self) -> contextlib.AbstractContextManager[postgres.Connection]:
        """Open the warehouse for reading what dashboards show, and nothing else."""
        return self._connected(
            self.settings.require_warehouse().dashboards, "the warehouse, as dashboards", DASHBOARDS_SESSION
        )

    def analyst_uri(self) -> str:
        """Return the warehouse's address with the credential of an analyst, for a program of theirs."""
        return self._uri(self.settings.require_warehouse().analyst)

    @contextlib.contextmanager
    def source(
        self, name: str, *, keep: bool = False, session: Mapping[str, str] = SOURCE_SESSION
    ) -> Iterator[postgres.Connection]:
        """Open a source, for reading only; or take up the session that was kept of it.

        `keep`: the block leaves nothing in its session, so the step that asked may do its work over it.
        `session` is what a new session is told.
        """
        opened = self._sources.pop(name, None)
        if opened is None or not self._answers(opened):
            opened = self._open(self.settings.source(name), f"source {name}", session=session)
        with contextlib.ExitStack() as stack:
            stack.callback(opened.close)
            with postgres.used(opened):
                yield opened
            if keep and self.keeps_sources and name not in self._sources:
                self._sources[name] = opened
                stack.pop_all()

    def end_sources(self) -> None:
        """End the sessions of sources that were kept for a step."""
        while self._sources:
            self._sources.popitem()[1].close()

    def source_address(self, name: str) -> tuple[str, str]:
        """Return host and port of a source, as the settings or Vault have them; no login is made for that.

        Raise UnreachableError if there is no address to be had.
        """
        source = self.settings.source(name)
        uri = f"postgresql://{source.address}" if source.address else self._uri(source)
        return postgres.address(uri, f"source {name}")

    def database_uri(self, name: str) -> str:
        """Return the address, with its credential, of a database to back up, for pg_dump."""
        return self._uri(self.settings.database(name))

    def database(self, name: str) -> contextlib.AbstractContextManager[postgres.Connection]:
        """Open a database to back up, for reading only."""
        return self._connected(self.settings.database(name), f"database {name}", BACKUP_SESSION)

    def drill_uri(self, *, superuser: bool = False) -> str:
        """Return the address, with its credential, of the server that backups are tried on.

        With `superuser` that of its second login, which must have been named.
        """
        drill = self.settings.require_drill()
        if superuser and drill.superuser_secret is not None:
            return self._uri(drill.model_copy(update={"secret": drill.superuser_secret}))
        return self._uri(drill)

    def bucket(self, secret: str, *, retries: "RetryPolicy | None" = None) -> "Bucket":
        """Open the bucket of the backups with the key at `secret` (key_id and application_key).

        `retries` is how long B2 is given to answer, by default as long as a night can wait.
        """
        from pipeline import bucket  # noqa: PLC0415 - the SDK is slow to import, and loading does not need it

        backup = self.settings.require_backup()
        key = self.vault.read(secret)
        missing = [name for name in ("key_id", "application_key") if not key.get(name)]
        if missing:
            what = " and no ".join(missing)
            raise UnreachableError(f"Vault: {secret} has no {what}", hint="write the values from B2 there")
        return bucket.connect(
            key["key_id"], key["application_key"], backup.bucket, realm=backup.realm, retries=retries
        )


def _require_answer(database: DatabaseSettings, name: str) -> None:
    """Raise LostError if nobody answers where Vault was to make a login: it says so in words of its own."""
    try:
        postgres.open_session(f"postgresql://{database.address}", name).close()
    except LostError:
        raise
    except PipelineError:
        # It answers, and lets nobody in without a login.
        return


@contextlib.contextmanager
def opened(settings: Settings) -> Iterator[Access]:
    """Log in to Vault for one step. Raise UnreachableError if Vault refuses our login."""
    with vault.session(settings.vault) as session, contextlib.ExitStack() as stack:
        yield Access(settings, session, stack)


def restoring(settings: Settings) -> contextlib.AbstractContextManager[Access]:
    """Log in to Vault as [restore] says: with more rights than a nightly run has."""
    restore = settings.require_restore()
    own = {"role": restore.role, "credential_file": restore.credential_file}
    login = settings.vault.model_copy(update={key: value for key, value in own.items() if value})
    return opened(settings.model_copy(update={"vault": login}))
