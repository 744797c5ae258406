"""Refuses what was mistyped on Luigi's own command line, as `pipeline run` does: told, and exit code 2."""

import logging

import luigi
from luigi.cmdline_parser import CmdlineParser

from pipeline.errors import PipelineError
from pipeline.redact import redact

logger = logging.getLogger("luigi-interface")

_get_task_obj = CmdlineParser.get_task_obj


def install() -> None:
    """Let no task be run from the command line whose run, source, table or database is none."""
    CmdlineParser.get_task_obj = _root  # type: ignore[method-assign]


def _root(parser: CmdlineParser) -> luigi.Task:
    """Return the task that was asked for. End the program if there is none such."""
    try:
        task: luigi.Task = _get_task_obj(parser)
        if (require := getattr(task, "require_declared", None)) is not None:
            require()
    except PipelineError as error:
        # Else Luigi shows a traceback, and ends with a code of its own.
        for line in redact(str(error)).splitlines():
            logger.error("%s", line)  # noqa: TRY400 - it is no bug
        raise SystemExit(error.exit_code) from None
    return task
