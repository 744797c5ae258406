"""The sections of luigi.cfg that are ours: frozen classes that refuse unknown keys."""

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.settings import values
from pipeline.settings.values import Address, AlertForm, Auth, Edits, Paths, Stanza, Text, Url, VaultPath

_DYNAMIC = re.compile(r".+/creds/[^/]+")


class Section(BaseModel):
    """What all have in common: values that stay, and no unknown key."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class VaultSettings(Section):
    """Where Vault is and how to log in. Entries are read from `<mount>/data/<prefix>/`."""

    url: Url
    auth: Auth
    # AppRole: the RoleID; JWT: the role's name.
    role: Text | None = None
    mount: VaultPath = "secret"
    prefix: VaultPath = "pipeline"
    # The engine that signs.
    transit: VaultPath = "transit"
    # The file with the JWT, the SecretID or the token; for a token, ~/.vault-token where this is None.
    credential_file: Path | None = None
    auth_mount: VaultPath = "token"

    def signing_key(self, database: str) -> str:
        """Return the name of the key that signs the backups of a database."""
        return f"{self.prefix.replace('/', '-')}-backup-{database}"

    @model_validator(mode="before")
    @classmethod
    def _auth_mount(cls, data: Any) -> Any:
        usual = {Auth.APPROLE: "approle", Auth.JWT: "jwt-nomad"}
        if isinstance(data, dict) and "auth_mount" not in data and data.get("auth") in usual:
            return {**data, "auth_mount": usual[data["auth"]]}
        return data

    @model_validator(mode="after")
    def _complete(self) -> "VaultSettings":
        needed = () if self.auth == Auth.TOKEN else ("role", "credential_file")
        missing = [key for key in needed if getattr(self, key) is None]
        if missing:
            raise ValueError(f"{' and '.join(missing)}: missing; auth = {self.auth} needs it")
        return self


class DatabaseSettings(Section):
    """A database: the path of its credential in Vault and, for one made on demand, the database's address."""

    secret: VaultPath
    address: Address | None = None

    @property
    def dynamic(self) -> bool:
        """Whether Vault makes the credential on demand (`database/creds/ROLE`)."""
        return _DYNAMIC.fullmatch(self.secret) is not None

    @model_validator(mode="after")
    def _addressed(self) -> "DatabaseSettings":
        if self.dynamic and self.address is None:
            raise ValueError("address: missing; a credential made on demand needs address = host:port/name")
        return self


class WarehouseSettings(DatabaseSettings):
    """The warehouse, by the login that owns it."""

    # The login with which the analysts' SQL is run; None: the entry `analyst` below the warehouse's own.
    analyst_secret: VaultPath | None = None
    # The login that reads what dashboards show; None: the entry `dashboards` below the warehouse's own.
    dashboards_secret: VaultPath | None = None

    @property
    def analyst(self) -> DatabaseSettings:
        """The warehouse, by a login that may do what an analyst may and nothing else."""
        return DatabaseSettings(secret=self.analyst_secret or f"{self.secret}/analyst", address=self.address)

    @property
    def dashboards(self) -> DatabaseSettings:
        """The warehouse, by a login that may read what dashboards show and nothing else."""
        secret = self.dashboards_secret or f"{self.secret}/dashboards"
        return DatabaseSettings(secret=secret, address=self.address)


class SourceSettings(DatabaseSettings):
    """A database that is loaded into the warehouse."""

    # So many tables are read at once, each over one connection; one more holds the moment that they read.
    connections: int = Field(default=4, ge=1)
    # How old its tables may grow; None: as [watch] says.
    table_hours: int | None = Field(default=None, ge=1)


class BackedUpSettings(DatabaseSettings):
    """A database that is backed up. How old its backup and its drill may grow; None: as [watch] says."""

    backup_hours: int | None = Field(default=None, ge=1)
    drill_days: int | None = Field(default=None, ge=1)
    # What pgBackRest calls its server, where the school has that beside our backups.
    pgbackrest: Stanza | None = None


class BackupSettings(Section):
    """Where backups go, whom they are encrypted to and how long they stay.

    `secret` is the key that writes, `verify_secret` the one that reads back (the same where it is None).
    """

    bucket: Text
    # Another address than B2's own; for the sandbox.
    realm: Url | None = None
    secret: VaultPath
    verify_secret: VaultPath | None = None
    # The key that reads the bucket's rules and lock, for `pipeline check` and `pipeline watch`.
    audit_secret: VaultPath | None = None
    # The files of public keys. One alone can be lost, and every backup with it.
    recipients: Annotated[Paths, Field(min_length=2)]
    # The file of the public keys whose signatures count. Where it is None, nothing is signed, and all count.
    signers: Path | None = None
    # Objects that are larger are read back in samples; where this is None, every object as a whole.
    sample_above_gib: int | None = Field(default=None, ge=1)
    upload_mib_per_second: int | None = Field(default=None, ge=1)
    # The folder of pg_dump; where it is None, the newest on the PATH is taken.
    postgres_bin: Path | None = None
    keep_days: int = Field(default=30, ge=1)
    # Of each database, the newest so many backups and one of each of so many months do not go by their age.
    keep_last: int = Field(default=3, ge=0)
    keep_months: int = Field(default=12, ge=0)
    # Days for which nobody can delete a backup; as long as it is kept, where nothing else is said.
    lock_days: int = Field(default=30, ge=0)
    # The databases on the servers of those that are backed up that need no backup of ours; * is any letters.
    leave: values.Texts = ()
    work_dir: Path = Path("/var/lib/pipeline/backup")

    @model_validator(mode="before")
    @classmethod
    def _lock_as_kept(cls, data: Any) -> Any:
        if isinstance(data, dict) and "lock_days" not in data and "keep_days" in data:
            return {**data, "lock_days": data["keep_days"]}
        return data

    @model_validator(mode="after")
    def _unlocked_when_deleted(self) -> "BackupSettings":
        if self.lock_days > self.keep_days:
            raise ValueError("lock_days: is more than keep_days, so nothing could be deleted; lower it")
        return self


class PgBackRestSettings(Section):
    """pgBackRest, where the school has it beside our backups: its own file, and how old what it has may grow.

    `config` is its configuration file; where it is None, pgBackRest looks for it itself. The last three are
    for a drill: where it restores (None: as [backup] says), where PostgreSQL's own programs are (None: where
    Debian and Red Hat have those of each version), and who runs them where we are root.
    """

    config: Path | None = None
    # A week and two hours: a full backup each week is usual.
    backup_hours: int = Field(default=170, ge=1)
    wal_hours: int = Field(default=26, ge=1)
    work_dir: Path | None = None
    postgres_bin: Path | None = None
    user: Text = "postgres"


class RestoreSettings(Section):
    """What only a restore may have: the B2 key that reads, a private key, and the login that gives them.

    Without `role` and `credential_file` the login is that of [vault].
    """

    secret: VaultPath
    key_secret: VaultPath
    role: Text | None = None
    credential_file: Path | None = None


class DrillSettings(DatabaseSettings):
    """The separate server into which backups are restored to prove them.

    `superuser_secret` is a second login, for backups that only a superuser can restore.
    """

    superuser_secret: VaultPath | None = None
    deadline_minutes: int = Field(default=30, ge=1)


class RunSettings(Section):
    """Time limits of `pipeline run`, after which what is still going is ended, and has failed."""

    step_minutes: float = Field(default=360, gt=0)
    run_minutes: float = Field(default=720, gt=0)


class AlertSettings(Section):
    """Where in Vault the webhook's address is, the form it takes, and the folder of what is still unsent."""

    secret: VaultPath
    form: AlertForm = "json"
    spool: Path = Path("/var/lib/pipeline/alerts")


class WatchSettings(Section):
    """How old a table, a backup, a drill, a sync and an analysts' task may grow before somebody is told."""

    table_hours: int = Field(default=26, ge=1)
    backup_hours: int = Field(default=26, ge=1)
    drill_days: int = Field(default=35, ge=1)
    sync_hours: int = Field(default=2, ge=1)
    task_hours: int = Field(default=26, ge=1)


class VisualizerSettings(Section):
    """Luigi's scheduler and its visualizer: the Vault entry with its three passwords, and how it is reached.

    `url` is what people open; where it is None, links are not made. With `certificate` and `key` it is served
    by TLS; `authority` is the file of certificates that its workers trust, beside the usual ones.
    """

    secret: VaultPath
    url: Url | None = None
    certificate: Path | None = None
    key: Path | None = None
    authority: Path | None = None

    @model_validator(mode="after")
    def _complete(self) -> "VisualizerSettings":
        if self.key is not None and self.certificate is None:
            raise ValueError("certificate: missing; key = FILE needs it beside it")
        return self


class LogSettings(Section):
    """Where each step writes a log of its own, and for how many days those are kept."""

    folder: Path = Path("/var/lib/pipeline/logs")
    keep_days: int = Field(default=30, ge=1)


class AnalystsSettings(Section):
    """The analysts' repository: where it comes from (None: it is not fetched) and where it lies here."""

    checkout: Path
    repository: Text | None = None
    branch: Text = "main"
    secret: VaultPath | None = None
    # Who runs their tasks, where we are root; None: nobody.
    user: Text | None = None
    # What each file of tasks may take.
    task_minutes: float = Field(default=60, gt=0)
    task_memory_mb: int = Field(default=1024, ge=64)


class ReportSettings(Section):
    """Where the dashboards are written as a page, each night."""

    folder: Path


class MetabaseSettings(Section):
    """Where Metabase is, and what of it is in Vault.

    `secret` has the email and the password of its first administrator, needed to set up an empty one.
    """

    url: Url
    secret: VaultPath
    # Where the key is kept that everything else is done with; None: the entry `api_key` below `secret`.
    api_key_secret: VaultPath | None = None
    # What becomes of what somebody changed there by hand.
    edits: Edits = Edits.OVERWRITE
    # Where it is a job of ours: the entry of its own database, with `uri` and `encryption_key`.
    database_secret: VaultPath | None = None

    @model_validator(mode="after")
    def _lasting(self) -> "MetabaseSettings":
        if self.database_secret is not None and _DYNAMIC.fullmatch(self.database_secret):
            raise ValueError(
                "database_secret: Metabase keeps one login as long as it runs; name an entry that has a uri"
            )
        return self

    @property
    def api_key(self) -> str:
        """Return the path of the entry with the key."""
        return self.api_key_secret or f"{self.secret}/api_key"
