"""Refuses what was mistyped on Luigi's own command line, as `pipeline run` does: told, and exit code 2."""

import logging
from collections.abc import Callable

import luigi

from pipeline.errors import PipelineError
from pipeline.redact import redact
from tasks import luigi_internals

logger = logging.getLogger("luigi-interface")


def install() -> None:
    """Let no task be run from the command line whose run, source, table or database is none."""
    luigi_internals.replace_root(_root)


def _root(make: Callable[[], luigi.Task]) -> luigi.Task:
    """Return the task that was asked for. End the program if there is none such."""
    try:
        task = make()
        if (require := getattr(task, "require_declared", None)) is not None:
            require()
    except PipelineError as error:
        # Else Luigi shows a traceback, and ends with a code of its own.
        for line in redact(str(error)).splitlines():
            logger.error("%s", line)  # noqa: TRY400 - it is no bug
        raise SystemExit(error.exit_code) from None
    return task
