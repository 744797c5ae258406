"""Who is told to stop stops, also if he is in a finalizer just then, whose exceptions Python ignores."""

import signal
import sys
import time
from collections.abc import Iterator

import pytest

from pipeline.errors import StoppedError
from pipeline.system import stopping
from tests.support.night import wait_until


class Finalized:
    """Is told to stop in the middle of its finalizer."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Have SIGTERM raise as that of a command does; leave all handlers as they were."""
    before = sys.unraisablehook, signal.getsignal(signal.SIGALRM)
    previous = signal.signal(signal.SIGTERM, stopping.stop)
    yield
    signal.signal(signal.SIGTERM, previous)
    assert before == (sys.unraisablehook, signal.getsignal(signal.SIGALRM))


def test_a_stop_in_a_finalizer_ends_what_goes_on(capfd: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        Finalized()
        wait_until(lambda: time.sleep(0.01), "it is told to stop", 20)

    with pytest.raises(StoppedError, match="stopped by a signal"), stopping.heard():
        work()
    assert capfd.readouterr().err == "", "and nothing of it is printed"


def test_a_stop_in_the_last_finalizer_is_heard_at_the_end() -> None:
    with pytest.raises(StoppedError), stopping.heard():
        Finalized()


def test_what_is_heard_is_what_was_said() -> None:
    def close(*_: object) -> None:
        raise StoppedError("the terminal was closed")

    signal.signal(signal.SIGTERM, close)
    with pytest.raises(StoppedError, match="the terminal was closed"), stopping.heard():
        Finalized()


def test_what_else_fails_in_a_finalizer_is_shown_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fails:
        def __del__(self) -> None:
            raise ValueError("no luck")

    seen: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda ignored: seen.append(str(ignored.exc_value)))
    with stopping.heard():
        Fails()
    monkeypatch.undo()
    assert seen == ["no luck"]
