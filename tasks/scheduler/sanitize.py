"""What callers of the scheduler send, made safe for Luigi's page, which inserts most of it as HTML."""

import re
from collections.abc import Callable, Iterable
from html import escape, unescape
from typing import Any

from luigi import task_status

# Names of tasks, workers, modules and resources. None of Luigi's or ours has one of these.
_UNSAFE = re.compile(r"[<>\"'&\x00-\x1f\x7f]")
# Another scheme (javascript:) would run in the page.
_LINK = re.compile(r"(?:https?:/)?/[^\s<>\"']*")
STATES = frozenset(
    {
        task_status.PENDING,
        task_status.FAILED,
        task_status.DONE,
        task_status.RUNNING,
        task_status.BATCH_RUNNING,
        task_status.SUSPENDED,
        task_status.UNKNOWN,
        task_status.DISABLED,
    }
)

Arguments = dict[str, Any]


class UnsafeError(ValueError):
    """A call holds what no worker of Luigi's sends."""


def sanitized(method: str, arguments: Arguments) -> Arguments:
    """Return the arguments of an RPC, safe to be shown. Raise UnsafeError if they cannot be made so."""
    clean = _CLEANERS.get(method)
    return clean(dict(arguments)) if clean else arguments


def text(message: Any) -> str | None:
    """Return a message as HTML that shows it; one that was escaped by its sender is the same afterwards."""
    return None if message is None else escape(unescape(str(message)))


def _task(arguments: Arguments) -> Arguments:
    for key in ("task_id", "family", "module", "worker", "batch_id"):
        _check_name(key, arguments.get(key))
    for key in ("deps", "new_deps"):
        for dependency in arguments.get(key) or ():
            _check_name(key, dependency)
    if arguments.get("status", task_status.PENDING) not in STATES:
        raise UnsafeError("status: is not one of Luigi's")
    _check_number("priority", arguments.get("priority", 0))
    for resource, amount in (arguments.get("resources") or {}).items():
        _check_name("resources", resource)
        _check_number("resources", amount)
    if arguments.get("params"):
        arguments["params"] = {str(key): str(value) for key, value in arguments["params"].items()}
    link = arguments.get("tracking_url")
    if link is not None and not _LINK.fullmatch(str(link)):
        arguments["tracking_url"] = None
    return arguments


def _status_message(arguments: Arguments) -> Arguments:
    return {**arguments, "status_message": text(arguments.get("status_message"))}


def _response(arguments: Arguments) -> Arguments:
    return {**arguments, "response": text(arguments.get("response"))}


def _progress(arguments: Arguments) -> Arguments:
    if arguments.get("progress_percentage") is not None:
        _check_number("progress_percentage", arguments["progress_percentage"])
    return arguments


def _worker(arguments: Arguments) -> Arguments:
    _check_name("worker", arguments.get("worker"))
    return arguments


def _resources(arguments: Arguments) -> Arguments:
    named: Iterable[tuple[Any, Any]] = arguments.items()
    if "resource" in arguments:
        named = [(arguments["resource"], arguments.get("amount"))]
    for resource, amount in named:
        _check_name("resource", resource)
        _check_number("amount", amount)
    return arguments


def _check_name(key: str, value: Any) -> None:
    if value is not None and (not isinstance(value, str) or _UNSAFE.search(value)):
        raise UnsafeError(f"{key}: is not a valid name that Luigi gives")


def _check_number(key: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnsafeError(f"{key}: is not a number")


_CLEANERS: dict[str, Callable[[Arguments], Arguments]] = {
    "add_task": _task,
    "add_worker": _worker,
    "get_work": _worker,
    "ping": _worker,
    "count_pending": _worker,
    "set_task_status_message": _status_message,
    "set_task_progress_percentage": _progress,
    "add_scheduler_message_response": _response,
    "update_resource": _resources,
    "update_resources": _resources,
}
