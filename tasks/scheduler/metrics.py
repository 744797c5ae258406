"""The scheduler's figures for Prometheus (`/metrics`): Luigi's own, and when each family last succeeded."""

import logging
from typing import Any

from luigi.contrib.prometheus_metric import PrometheusMetricsCollector
from prometheus_client import Gauge

from tasks.scheduler import stalled

logger = logging.getLogger(__name__)


class Collector(PrometheusMetricsCollector):
    """Is told by the scheduler of what becomes of each task, also of those whose worker has died.

    Called in the scheduler's only thread: what takes long belongs elsewhere.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._last_success = Gauge(
            "luigi_task_last_success_timestamp_seconds",
            "when a task of this family was last done, in seconds since 1970",
            ["family"],
            registry=self.registry,
        )

    def remember(self, family: str, done_at: float) -> None:
        """Take over when a task of a family was last done, in seconds since 1970."""
        self._last_success.labels(family).set(done_at)

    def handle_task_done(self, task: Any) -> None:
        """Note a success."""
        self.remember(task.family, task.updated)
        stalled.recover_if_done(task)
        super().handle_task_done(task)  # type: ignore[no-untyped-call]

    def handle_task_failed(self, task: Any) -> None:
        """Note a failure."""
        stalled.alert_if_stalled(task)
        _with_a_beginning(task)
        super().handle_task_failed(task)  # type: ignore[no-untyped-call]

    def handle_task_disabled(self, task: Any, config: Any) -> None:
        """Note a task that has failed too often."""
        stalled.alert_if_stalled(task)
        _with_a_beginning(task)
        super().handle_task_disabled(task, config)  # type: ignore[no-untyped-call]


def _with_a_beginning(task: Any) -> None:
    """Let a task that failed before it ran have taken no time: Luigi would stumble over it."""
    if task.time_running is None:
        task.time_running = task.updated
