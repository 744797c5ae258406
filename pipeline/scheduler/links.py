"""Links into the visualizer: to a task, and to the log of a step. No credential is ever in one."""

import hashlib
import json
import re
from collections.abc import Mapping
from urllib.parse import quote

from pipeline.settings import Settings

# How Luigi makes the id of a task (luigi.task.task_id_str), which this library knows nothing else of.
_PARAMETERS, _CHARACTERS, _HASH_CHARACTERS = 3, 16, 10
# Under these names a step's parameters have its run: a drill is known by its month.
_RUN_PARAMETERS = ("run", "month")


def task_id(family: str, parameters: Mapping[str, str]) -> str:
    """Return Luigi's id of a task, such as etl.ExtractTable with source, table and run."""
    text = json.dumps(parameters, separators=(",", ":"), sort_keys=True)
    digest = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[:_HASH_CHARACTERS]
    shown = "_".join(parameters[name][:_CHARACTERS] for name in sorted(parameters)[:_PARAMETERS])
    return f"{family}_{re.sub(r'[^A-Za-z0-9_]', '_', shown)}_{digest}"


def log_path(run: str, identity: str) -> str:
    """Return where the scheduler shows the log of the step with that id, below its address."""
    return f"/log/{quote(run, safe='')}/{quote(identity, safe='')}"


def task_url(settings: Settings, family: str, parameters: Mapping[str, str]) -> str | None:
    """Return the visualizer's page of a task, None where `[visualizer] url` does not say where that is."""
    url = _visualizer(settings)
    if url is None:
        return None
    return (
        f"{url}/static/visualiser/index.html#tab=graph&taskId={quote(task_id(family, parameters), safe='')}"
    )


def log_url(settings: Settings, family: str, parameters: Mapping[str, str]) -> str | None:
    """Return the page of a step's log, None without `[visualizer] url`, or if there is no run."""
    url = _visualizer(settings)
    run = next((parameters[name] for name in _RUN_PARAMETERS if name in parameters), None)
    return None if url is None or run is None else url + log_path(run, task_id(family, parameters))


def _visualizer(settings: Settings) -> str | None:
    return settings.visualizer.url if settings.visualizer else None
