"""What is to be done about checks that did not hold."""

from collections.abc import Iterable

from pipeline.catalog.check_kinds import Result


def how_to_fix(results: Iterable[Result]) -> str:
    """Return what is to be done about results that stop something; nothing if they do not say."""
    return "; ".join(dict.fromkeys(result.hint for result in results if result.stops and result.hint))
