"""Which cases of a test are run each time, and which by `bin/test --all` alone."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest


def in_depth(
    names: str | Sequence[str], cases: Iterable[Any], *, quick: int = 1, **more: Any
) -> Callable[[Any], Any]:
    """As `pytest.mark.parametrize`; all cases but the first `quick` ones are marked endurance."""
    several = len(names.split(",") if isinstance(names, str) else names) > 1
    made = []
    for number, case in enumerate(cases):
        param = case if hasattr(case, "marks") else pytest.param(*case) if several else pytest.param(case)
        deep = [pytest.mark.endurance] if number >= quick else []
        made.append(pytest.param(*param.values, marks=[*param.marks, *deep], id=param.id))
    return pytest.mark.parametrize(names, made, **more)
