"""Sync: brings what analysts have pushed to where the next run reads it, if it is as it should be."""

from pipeline.sync.synced import Synced, ended_at, sync
from pipeline.sync.versions import CATALOG, folder, held

__all__ = ["CATALOG", "Synced", "ended_at", "folder", "held", "sync"]
