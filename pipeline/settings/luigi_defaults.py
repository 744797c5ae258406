"""What Luigi is told where luigi.cfg says nothing: without it a failed run would end with 0, and more.

luigi.cfg of the repository shows the same, commented; what it says instead wins, key by key.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

# A worker that is silent for less than this is not given up: its task would be run by two at once.
DISCONNECT_SECONDS = 180
THREE_DAYS = 3 * 24 * 60 * 60


@dataclass(frozen=True)
class Default:
    """A setting of Luigi's, and what another value costs; "" where any value is as good.

    `is_weaker` says of a value whether it has that cost: by default, by each other one.
    """

    value: str
    cost: str = ""
    is_weaker: Callable[[str], bool] | None = None

    def weakened_by(self, value: str) -> bool:
        """Whether a night is less safe with this value."""
        if not self.cost or value.strip().lower() == self.value.lower():
            return False
        try:
            return self.is_weaker is None or self.is_weaker(value)
        except ValueError:  # no number: Luigi will say so
            return False


def _is_zero(value: str) -> bool:
    return int(value) == 0


def _is_off(value: str) -> bool:
    return value.strip().lower() not in ("true", "1", "yes", "on")


def _is_on(value: str) -> bool:
    return not _is_off(value)


_SUCCESS = "plain Luigi exits with 0 for such a failure, as if it had succeeded"

LUIGI: Mapping[str, Mapping[str, Default]] = {
    "core": {
        "no_lock": Default("True", "two different runs exclude each other", _is_off),
        "log_level": Default("INFO"),
        "autoload_range": Default("False"),
        "rpc_retry_attempts": Default("12", "a scheduler that restarts ends runs", lambda n: int(n) < 12),  # noqa: PLR2004
        "rpc_retry_wait": Default("5"),
    },
    "worker": {
        "force_multiprocessing": Default("True", "a killed step ends the whole run", _is_off),
        "check_complete_on_run": Default(
            "True", "a step counts as done though its result is missing", _is_off
        ),
        "cache_task_completion": Default("False", "cleared steps count as done", _is_on),
        "keep_alive": Default("True", "failed steps are not retried, and workers do not wait", _is_off),
        "max_keep_alive_idle_duration": Default("5 minutes"),
        "wait_interval": Default("1"),
        "wait_jitter": Default("1"),
        "timeout": Default(
            "0", "Luigi ends steps without their programs; [run] step_minutes ends all of them"
        ),
        "task_process_context": Default("tasks.worker.log.StepLog", "steps have no log of their own"),
        "send_failure_email": Default("False"),
    },
    "scheduler": {
        "retry_count": Default("2", "a failed step is not retried", lambda n: int(n) < 2),  # noqa: PLR2004
        "retry_delay": Default("10"),
        "disable_window": Default("600"),
        "disable_persist": Default(str(THREE_DAYS)),
        "prune_on_get_work": Default("True", "a failed step waits for a minute before its retry", _is_off),
        "stable_done_cooldown_secs": Default("0", "a rerun right after success does nothing"),
        "worker_disconnect_delay": Default(
            str(DISCONNECT_SECONDS), "a step may run twice at once", lambda n: int(n) < DISCONNECT_SECONDS
        ),
        "remove_delay": Default(str(THREE_DAYS)),
        "max_graph_nodes": Default("500"),
    },
    # `pipeline run` turns these into its own exit codes.
    "retcode": {
        "already_running": Default("10", _SUCCESS, _is_zero),
        "missing_data": Default("20", _SUCCESS, _is_zero),
        "not_run": Default("25", _SUCCESS, _is_zero),
        "task_failed": Default("30", _SUCCESS, _is_zero),
        "scheduling_error": Default("35", _SUCCESS, _is_zero),
        "unhandled_exception": Default("40", _SUCCESS, _is_zero),
    },
}
