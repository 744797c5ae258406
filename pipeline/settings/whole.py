"""All that luigi.cfg says, as one value, and what is told of a section that is needed and not there."""

from collections.abc import Mapping
from typing import TypeVar

from pipeline.errors import UsageError
from pipeline.names import advice
from pipeline.settings.sections import (
    AlertSettings,
    AnalystsSettings,
    BackedUpSettings,
    BackupSettings,
    DrillSettings,
    LogSettings,
    MetabaseSettings,
    PgBackRestSettings,
    ReportSettings,
    RestoreSettings,
    RunSettings,
    Section,
    SourceSettings,
    VaultSettings,
    VisualizerSettings,
    WarehouseSettings,
    WatchSettings,
)

T = TypeVar("T")


class Settings(Section):
    """Everything that the settings files say, checked. Sections that may be missing are None or empty."""

    vault: VaultSettings
    warehouse: WarehouseSettings | None = None
    sources: Mapping[str, SourceSettings] = {}
    databases: Mapping[str, BackedUpSettings] = {}
    run: RunSettings = RunSettings()
    backup: BackupSettings | None = None
    pgbackrest: PgBackRestSettings = PgBackRestSettings()
    restore: RestoreSettings | None = None
    drill: DrillSettings | None = None
    alerts: AlertSettings | None = None
    watch: WatchSettings = WatchSettings()
    visualizer: VisualizerSettings | None = None
    analysts: AnalystsSettings | None = None
    metabase: MetabaseSettings | None = None
    report: ReportSettings | None = None
    logs: LogSettings = LogSettings()

    @property
    def metabase_database(self) -> str | None:
        """The entry of Metabase's own database, where Metabase is a job of ours."""
        return self.metabase.database_secret if self.metabase else None

    @property
    def with_archive(self) -> tuple[str, ...]:
        """The databases whose server pgBackRest archives, as luigi.cfg says."""
        return tuple(name for name, one in sorted(self.databases.items()) if one.pgbackrest)

    @property
    def drilled_archives(self) -> tuple[str, ...]:
        """Those of them whose archive is drilled: it is compared with our backup, by who may restore that."""
        return self.with_archive if self.backup and self.restore else ()

    def source(self, name: str) -> SourceSettings:
        """Return the settings of one source. Raise UsageError if there is no [source.NAME]."""
        return _named("source", name, self.sources)

    def database(self, name: str) -> BackedUpSettings:
        """Return the settings of one database to back up. Raise UsageError if there is no [database.NAME]."""
        return _named("database", name, self.databases)

    def require_warehouse(self) -> WarehouseSettings:
        """Return [warehouse]. Raise UsageError if there is none; so do the others below."""
        return _required("warehouse", "secret = PATH_IN_VAULT", self.warehouse)

    def require_backup(self) -> BackupSettings:
        """Return [backup]."""
        return _required("backup", "bucket, secret and recipients", self.backup)

    def require_restore(self) -> RestoreSettings:
        """Return [restore]."""
        return _required("restore", "secret and key_secret", self.restore)

    def require_drill(self) -> DrillSettings:
        """Return [drill]."""
        return _required("drill", "secret = PATH_IN_VAULT", self.drill)

    def require_alerts(self) -> AlertSettings:
        """Return [alerts]."""
        return _required("alerts", "secret = PATH_IN_VAULT", self.alerts)

    def require_visualizer(self) -> VisualizerSettings:
        """Return [visualizer]."""
        return _required("visualizer", "secret = PATH_IN_VAULT", self.visualizer)

    def require_analysts(self) -> AnalystsSettings:
        """Return [analysts]."""
        return _required("analysts", "checkout = FOLDER", self.analysts)

    def require_metabase(self) -> MetabaseSettings:
        """Return [metabase]."""
        return _required("metabase", "url and secret", self.metabase)


def _named(kind: str, name: str, known: Mapping[str, T]) -> T:
    if name in known:
        return known[name]
    raise UsageError(
        f"{kind} {name}: not in luigi.cfg ({advice(name, known)})",
        hint=f"to add it, write [{kind}.{name}] with secret = PATH_IN_VAULT there",
    )


def _required(section: str, keys: str, value: T | None) -> T:
    if value is None:
        raise UsageError(
            f"[{section}]: missing in luigi.cfg, and needed for this",
            hint=f"write it with {keys}",
        )
    return value
