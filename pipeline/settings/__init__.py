"""What luigi.cfg says: our sections as frozen, checked values. All problems are told at once."""

from pipeline.settings.reading import read, read_for_alerts
from pipeline.settings.sections import (
    AlertSettings,
    AnalystsSettings,
    BackupSettings,
    DatabaseSettings,
    LogSettings,
    RunSettings,
    VaultSettings,
    VisualizerSettings,
)
from pipeline.settings.values import Auth, Edits
from pipeline.settings.weakened import weakened
from pipeline.settings.whole import Settings

__all__ = [
    "AlertSettings",
    "AnalystsSettings",
    "Auth",
    "BackupSettings",
    "DatabaseSettings",
    "Edits",
    "LogSettings",
    "RunSettings",
    "Settings",
    "VaultSettings",
    "VisualizerSettings",
    "read",
    "read_for_alerts",
    "weakened",
]
