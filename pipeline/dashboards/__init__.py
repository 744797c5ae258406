"""Dashboards: what the analysts' repository declares of them, in Metabase."""

from pipeline.dashboards.apply import Outcome, apply, plan

__all__ = ["Outcome", "apply", "plan"]
