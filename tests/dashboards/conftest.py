"""Fixtures: an empty Metabase, and a warehouse that it shows."""

import contextlib
from collections.abc import Callable, Iterator

import pytest

from tests.dashboards.surfaces import Surface, surface_of
from tests.support.metabase import Metabase, running
from tests.support.night import Night


@pytest.fixture
def metabase() -> Iterator[Metabase]:
    """An instance that nobody has set up."""
    with running() as made:
        yield made


@pytest.fixture
def surface(night: Night, metabase: Metabase) -> Iterator[Surface]:
    """Dashboards of a warehouse with two marts, not yet applied."""
    with surface_of(night, metabase) as made:
        yield made


@pytest.fixture
def make() -> Iterator[Callable[..., Surface]]:
    """Make a surface of a night and an instance; it is removed after the test."""
    with contextlib.ExitStack() as stack:
        yield lambda night, metabase: stack.enter_context(surface_of(night, metabase))
