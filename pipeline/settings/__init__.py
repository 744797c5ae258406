"""What luigi.cfg says: our sections as frozen, checked values. All problems are told at once."""

from pipeline.settings.reading import read, read_for_alerts
from pipeline.settings.sections import (
    AlertSettings,
    AnalystsSettings,
    BackedUpSettings,
    BackupSettings,
    DatabaseSettings,
    DrillSettings,
    LogSettings,
    MetabaseSettings,
    RestoreSettings,
    RunSettings,
    Settings,
    SourceSettings,
    VaultSettings,
    VisualizerSettings,
    WatchSettings,
)

__all__ = [
    "AlertSettings",
    "AnalystsSettings",
    "BackedUpSettings",
    "BackupSettings",
    "DatabaseSettings",
    "DrillSettings",
    "LogSettings",
    "MetabaseSettings",
    "RestoreSettings",
    "RunSettings",
    "Settings",
    "SourceSettings",
    "VaultSettings",
    "VisualizerSettings",
    "WatchSettings",
    "read",
    "read_for_alerts",
]
