"""Work in a process of its own that is made of this one: it takes nothing of this one's along."""

import os
import select
import signal
import socket
from collections.abc import Callable
from typing import TextIO

import psutil
import pytest

from pipeline.system import forked

PATIENCE_SECONDS = 60.0


def answer_of(work: Callable[[TextIO], int], *keep_open: int) -> tuple[str, int]:
    """Return what the work wrote, and how it ended."""
    pid, output = forked.start("work of a test", work, keep_open)
    with output:
        written = output.read()
    return written, forked.wait(pid)


def test_it_answers_and_ends_with_the_code_of_its_work() -> None:
    def work(answer: TextIO) -> int:
        answer.write(f"{psutil.Process().name()} {os.getsid(0) == os.getpid()}")
        return 7

    assert answer_of(work) == ("work of a test True", 7)


def test_what_waits_for_the_end_of_a_connection_of_ours_hears_of_it_though_the_work_goes_on() -> None:
    """A copy of a pipe or a socket would keep it open for as long as a snapshot is held."""
    ours, theirs = socket.socketpair()
    go_on, told = os.pipe()

    def work(answer: TextIO) -> int:
        answer.write("begun\n")
        answer.flush()
        os.read(go_on, 1)
        return 0

    pid, output = forked.start("work of a test", work, [go_on])
    with output, theirs:
        assert output.readline() == "begun\n"
        ours.close()
        assert select.select([theirs], [], [], PATIENCE_SECONDS)[0], "nobody has it open any more"
        assert theirs.recv(1) == b""
        os.write(told, b".")
        assert forked.wait(pid) == 0
    os.close(go_on)
    os.close(told)


def test_what_it_opens_is_not_closed_by_what_it_took_over() -> None:
    """An object of the other process closes its number when it is collected: nothing new may have that."""
    ours, theirs = socket.socketpair()
    held = [ours]

    def work(answer: TextIO) -> int:
        numbers = [os.open(os.devnull, os.O_RDONLY) for _ in range(3)]
        held.clear()  # collected here
        for number in numbers:
            os.fstat(number)
        answer.write("all there")
        return 0

    del ours
    assert answer_of(work) == ("all there", 0)
    with held.pop(), theirs:
        assert theirs.fileno() > 0


def test_it_ends_by_a_signal_though_this_process_would_not() -> None:
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:

        def work(answer: TextIO) -> int:
            os.kill(os.getpid(), signal.SIGTERM)
            answer.write("lived on")
            return 0

        assert answer_of(work) == ("", -signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_bug_in_it_is_told_and_ends_only_it(capfd: pytest.CaptureFixture[str]) -> None:
    me = os.getpid()

    def work(_answer: TextIO) -> int:
        raise RuntimeError("a bug")

    assert answer_of(work) == ("", forked.BUG)
    assert os.getpid() == me
    assert "RuntimeError: a bug" in capfd.readouterr().err
