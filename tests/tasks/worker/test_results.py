"""A worker hears what became of its tasks, whatever becomes of the processes that tell it."""

import multiprocessing
import os
import queue
from collections.abc import Callable, Iterator

import pytest

from tasks.worker.results import Pipe, Results

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def results() -> Iterator[Results]:
    made = Results()
    yield made
    made.close()


def process(results: Results, do: Callable[[Pipe], None]) -> "multiprocessing.process.BaseProcess":
    pipe = results.pipe()
    made = FORK.Process(target=do, args=(pipe,))
    made.start()
    results.close_writers()
    return made


def test_a_process_that_is_killed_while_it_tells_keeps_nobody_else_from_telling(results: Results) -> None:
    """Nor the worker itself, which says by the same way that the process has died."""

    def half(pipe: Pipe) -> None:
        pipe.put("whole")
        assert pipe._writer is not None
        os.write(pipe._writer, (1000).to_bytes(8, "big") + b"half of it")
        os._exit(3)

    dead = process(results, half)
    dead.join()
    other = process(results, lambda pipe: pipe.put("other"))
    other.join()
    results.put("own")
    assert sorted(results.get(60) for _ in range(3)) == ["other", "own", "whole"]
    assert results.empty()
    with pytest.raises(queue.Empty):
        results.get(0.0)


def test_what_was_told_is_there_when_its_process_has_ended(results: Results) -> None:
    """So that one that has told and then ended badly is not taken for one that has told nothing."""

    def tell(pipe: Pipe) -> None:
        pipe.put("told")
        os._exit(1)

    process(results, tell).join()
    assert not results.empty()
    assert results.get(0.0) == "told"


def test_results_that_are_larger_than_a_pipe_come_whole_and_in_order(results: Results) -> None:
    large = [str(number) * 300_000 for number in range(3)]

    def tell(pipe: Pipe) -> None:
        for one in large:
            pipe.put(one)

    teller = process(results, tell)
    assert [results.get(60) for _ in range(3)] == large
    teller.join()


def test_no_pipe_of_a_process_that_has_ended_stays_open(results: Results) -> None:
    for number in range(5):
        teller = process(results, lambda pipe, number=number: pipe.put(number))  # type: ignore[misc]
        assert results.get(60) == number
        teller.join()
        assert results.empty()
        assert results._partial == {}


def test_who_is_told_nothing_any_more_keeps_no_process_from_ending() -> None:
    made = Results()
    pipe = made.pipe()
    for reader in made._partial:
        os.close(reader)
    made._partial.clear()
    pipe.put("nobody hears it")
    pipe.close()
    with pytest.raises(ValueError, match="closed"):
        pipe.put("again")
