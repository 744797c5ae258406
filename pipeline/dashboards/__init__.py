"""Dashboards: what the analysts' repository declares of them, in Metabase."""

from pipeline.dashboards.apply import Outcome, apply, plan
from pipeline.dashboards.export import export

__all__ = ["Outcome", "apply", "export", "plan"]
