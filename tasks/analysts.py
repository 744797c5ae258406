"""The analysts' own tasks: RunProgram runs one file of theirs, confined; RunPrograms gathers them.

They need Vault and the warehouse as an analyst, and nothing else.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import luigi

from pipeline import sync
from pipeline.chains import ANALYSTS
from pipeline.programs import run as programs
from tasks import events  # noqa: F401 - people are told of what fails
from tasks.step import Done, RunParameter, Step, configured, today


def _folder() -> Path:
    return sync.folder(configured().require_analysts().checkout)


class RunProgram(Step):
    """All tasks of one file of the analysts' were done."""

    task_namespace = ANALYSTS.name
    # It is theirs to try again, or not.
    retry_count = 1

    program = luigi.Parameter(description="the file: NAME of tasks/NAME.py")

    def require_declared(self) -> None:
        """Raise UsageError if there is no such file."""
        programs.wanted(_folder(), self.program)

    def output(self) -> Done:
        return Done(
            f"tasks of {self.program} in {self.logical_date}",
            lambda: programs.is_done(configured(), self.program, self.logical_date),
        )

    def run(self) -> None:
        programs.run_program(configured(), _folder(), self.program, self.logical_date, self.show)


class RunPrograms(Step, luigi.WrapperTask):
    """The tasks of every file of the analysts' were done, or of those that are named: the root."""

    programs: Sequence[str] = luigi.ListParameter(default=(), description="only these")
    logical_date = RunParameter(default=today(), description="the logical date, by default today's (UTC)")

    def require_declared(self) -> None:
        """Raise UsageError if there are not all of these files."""
        for name in self.programs:
            programs.wanted(_folder(), name)

    def requires(self) -> Iterator[RunProgram]:
        for name in self.programs or programs.wanted(_folder(), None):
            yield RunProgram(program=name, run=self.logical_date)
