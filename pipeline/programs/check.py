"""Look: whether every file of tasks can be imported, and has something to run; where it can do no harm."""

from pathlib import Path

from pipeline.programs import confined


def problems(folder: Path, user: str | None = None) -> list[str]:
    """Return what is wrong with the tasks of a repository, each with file and line.

    `user` is who imports them where we are root. Raise UsageError where nothing can be confined here.
    """
    names = confined.named(folder)
    if names and (wrong := confined.uncopied(folder)):
        return [wrong]
    return [problem for name in names for problem in confined.check(folder, name, user).problems]
