"""How things look: tables and progress on a terminal, plain lines in a log."""

import sys
from datetime import timedelta
from typing import TYPE_CHECKING

from pipeline import durations
from pipeline.redact import redact

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

# In a file or a pipe a table is as wide as what stands in it.
UNLIMITED_WIDTH = 10_000
# So much may two machines' clocks differ without a word.
CLOCK_SECONDS = 60


def console() -> "Console":
    """Return standard output: on a terminal coloured and as wide as it is, elsewhere plain and unlimited."""
    from rich.console import Console  # noqa: PLC0415 - slow to import, and many commands show no table

    return Console(highlight=False, width=None if sys.stdout.isatty() else UNLIMITED_WIDTH)


def print_text(text: str) -> None:
    """Write text as it is to standard output, but for credentials, and end its line."""
    sys.stdout.write(redact(text) + "\n")
    sys.stdout.flush()


def print_line(sentence: str, style: str | None = None) -> None:
    """Write a sentence without credentials; on a terminal it goes on in the next line at a space."""
    if sys.stdout.isatty():
        console().print(redact(sentence), style=style, markup=False)
    else:
        print_text(sentence)


def warn(sentence: str | None) -> None:
    """Write what is no failure, but to be known, if there is anything."""
    if sentence:
        print_line(f"warning: {sentence}", "yellow")


def print_next(before: str, command: str) -> None:
    """Write the command that fixes something, whole, and before it what is to be done first, if anything."""
    line = f"  next: {before}, then " if before else "  next: "
    if before and sys.stdout.isatty() and len(line) + len(command) > console().width:
        line = f"{line.rstrip()}\n        "
    print_text(line + command)


def progress() -> "Progress":
    """Return a progress bar on standard error; it shows nothing where that is not a terminal."""
    from rich.console import Console  # noqa: PLC0415 - as above
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )
    from rich.table import Column  # noqa: PLC0415

    return Progress(
        TextColumn("{task.fields[name]}"),
        BarColumn(bar_width=12),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        # Takes what is left of the line, and is cut off there.
        TextColumn(
            "{task.description}",
            table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
            markup=False,
        ),
        console=Console(stderr=True),
        transient=True,
        expand=True,
        disable=not sys.stderr.isatty(),
    )


def table(*columns: str) -> "Table":
    """Return an empty table; a column whose name begins with ">" holds numbers.

    Where it does not fit, the first column is folded: nothing is cut off.
    """
    from rich.table import Table  # noqa: PLC0415 - as above

    made = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        made.add_column(
            column.removeprefix(">"),
            justify="right" if column.startswith(">") else "left",
            no_wrap=number > 0,
            overflow="fold",
        )
    return made


def failure(summary: str, error: str | None) -> str:
    """Return what failed and by which error, in a line. What both begin with is said once.

    >>> failure("hr.employee: ExtractTable failed", "hr.employee: it is empty")
    'hr.employee: ExtractTable failed: it is empty'
    >>> failure("backup of hr: DumpDatabase failed", "database hr: no connection: refused")
    'backup of hr: DumpDatabase failed: no connection: refused'
    """
    if not error:
        return summary
    subject = summary.partition(": ")[0]
    # A database's is called by its name, or as the backup or the drill of it.
    database = f"database {subject.partition(' of ')[2].partition(' ')[0] or subject}: "
    return f"{summary}: {error.removeprefix(f'{subject}: ').removeprefix(database)}"


def counted(number: int, what: str) -> str:
    """Return a number of things.

    >>> counted(1, "table"), counted(2_000, "table")
    ('1 table', '2,000 tables')
    """
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def age(seconds: float) -> str:
    """Return how old something is.

    >>> age(61.0), age(3 * 3600.0 + 720), age(50 * 3600.0)
    ('1 min', '3 h 12 min', '2 days 2 h')
    >>> age(-5.0), age(-7200.0)
    ('0 min', 'in the future: a clock is wrong')
    """
    if seconds < -CLOCK_SECONDS:
        return "in the future: a clock is wrong"
    return durations.rough(timedelta(seconds=max(seconds, 0.0)))
