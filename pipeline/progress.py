"""How far long work is, told to whoever shows it: a terminal, the visualizer, a log."""

from collections.abc import Callable

# Whoever shows it is told no more often: each word to the visualizer is a call to the scheduler.
SHOW_SECONDS = 1.0

# Told how far a step is, in percent or None where that cannot be known, and in words.
Show = Callable[[int | None, str], None]


def no_progress(_percent: int | None, _message: str) -> None:
    """Show nothing."""


def moved(done_bytes: int, whole_bytes: int, seconds: float) -> str:
    """Return how far bytes have come, and how fast, for people.

    >>> moved(12_000_000, 40_000_000, 2.0)
    '12 of 40 MB, 6.0 MB a second'
    """
    rate = done_bytes / 1e6 / max(seconds, 0.001)
    return f"{done_bytes / 1e6:,.0f} of {whole_bytes / 1e6:,.0f} MB, {rate:,.1f} MB a second"
