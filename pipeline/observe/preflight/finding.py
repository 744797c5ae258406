"""What was found of one thing, and how a thing is looked at so that it hides no other."""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline import postgres
from pipeline.errors import PipelineError
from pipeline.postgres import Connection


@dataclass(frozen=True)
class Finding:
    """What was looked at, and what is wrong with it and what to do; nothing, if all is well."""

    subject: str
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def checked(what: str, check: Callable[[], list[str]]) -> Finding:
    """Return what `check` finds wrong with it, or why it could not be checked."""
    try:
        problems = check()
    except PipelineError as error:
        problems = str(error).splitlines()
    # What a step says begins with its name, as does each line here.
    return Finding(what, tuple(problem.removeprefix(f"{what}: ") for problem in problems))


def unwritable(connection: Connection) -> list[str]:
    """Return why nothing can be written to a server, if that is so."""
    return [why] if (why := postgres.read_only(connection)) else []
