"""Answers within limits: what requests itself would wait for, or keep, without end."""

import re
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from pipeline import bounded_http
from pipeline.bounded_http import MIB, BoundedAdapter, TooLargeError, passed_limit
from tests.support import garbled
from tests.support.garbled import Stream
from tests.support.recording import Handler, serving

SECONDS, LONG_SECONDS = 0.4, 60


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[tuple[str, Stream | None]]:
    """Serve an answer of that name at /NAME, and a good one at any other place."""
    made = (garbled.SLOW | garbled.HUGE)[request.param]() if hasattr(request, "param") else None

    class Own(Handler):
        def do_GET(self) -> None:  # noqa: N802 - http.server's own name
            if made and self.path == "/made":
                made.write(self)
            else:
                self.answer(200, b"good " * 20_000, {})

        do_HEAD = do_GET  # noqa: N815

    with serving(Own) as port:
        yield f"http://127.0.0.1:{port}", made


def get(url: str, seconds: float = SECONDS, **named: object) -> requests.Response:
    return bounded_http.request("GET", url, timeout=(5, seconds), adapter=BoundedAdapter(MIB), **named)


def limit_of(error: BaseException) -> str:
    return passed_limit(error) or "none"


@pytest.mark.parametrize("server", garbled.SLOW, indirect=True)
def test_the_time_is_for_the_whole_answer(server: tuple[str, Stream]) -> None:
    url, made = server
    with pytest.raises(requests.RequestException) as found:
        get(f"{url}/made")
    assert re.fullmatch(r"no (whole )?answer within 0\.4 s", limit_of(found.value))
    assert made.sent < made.most_bytes


@pytest.mark.parametrize("server", garbled.HUGE, indirect=True)
def test_the_size_is_for_the_whole_answer_as_it_is_unpacked(server: tuple[str, Stream]) -> None:
    url, made = server
    tracemalloc.start()
    try:
        with pytest.raises(requests.RequestException) as found:
            get(f"{url}/made", LONG_SECONDS)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert re.fullmatch(r"(an answer of more than 1 MiB|headers of more than 256 KiB)", limit_of(found.value))
    # One for what was read, the rest for what was being read; in the buffers of the sockets there is more.
    assert most < 8 * MIB
    assert made.sent < made.most_bytes or made.most_bytes < MIB


@pytest.mark.parametrize("server", ["an endless body"], indirect=True)
def test_a_body_that_is_handed_on_is_the_callers_and_each_piece_of_it_has_its_time(
    server: tuple[str, Stream],
) -> None:
    url, _ = server
    taken = 0
    with get(f"{url}/made", LONG_SECONDS, stream=True) as answer:
        for piece in answer.iter_content(65536):
            taken += len(piece)
            if taken > 8 * MIB:
                break
    assert taken > 8 * MIB  # more than an answer that is kept


@pytest.mark.parametrize("server", ["a slow body"], indirect=True)
def test_a_piece_that_is_too_slow_ends_a_body_that_is_handed_on(server: tuple[str, Stream]) -> None:
    url, _ = server
    with (
        get(f"{url}/made", stream=True) as answer,
        pytest.raises(requests.ConnectionError) as found,
    ):
        list(answer.iter_content(65536))
    assert limit_of(found.value) == "no whole answer within 0.4 s"


@pytest.mark.parametrize("server", ["a huge error"], indirect=True)
def test_an_error_that_was_to_be_handed_on_is_read_within_the_limits(server: tuple[str, Stream]) -> None:
    """Who asked for a body asks an error for its text."""
    with pytest.raises(TooLargeError):
        get(f"{server[0]}/made", LONG_SECONDS, stream=True)


def test_good_answers_on_one_line_have_their_time_each(server: tuple[str, Stream | None]) -> None:
    url, _ = server
    adapter: Any = BoundedAdapter(MIB)
    with bounded_http.bounded(requests.Session(), adapter) as session:
        for _ in range(3):
            answer = session.get(url, timeout=LONG_SECONDS)
            assert (answer.content, answer.text[:5]) == (b"good " * 20_000, "good ")
            pools = adapter.poolmanager.pools
            (pool,) = (pools[key] for key in pools.keys())  # noqa: SIM118 - no mapping
            assert pool.pool.queue[-1].sock.gettimeout() == LONG_SECONDS
        with session.get(url, timeout=LONG_SECONDS, stream=True) as streamed:
            assert b"".join(streamed.iter_content(7)) == b"good " * 20_000
        assert session.head(url, timeout=LONG_SECONDS).content == b""


def test_servers_that_send_each_other_the_question_are_left() -> None:
    class Circle(Handler):
        def do_GET(self) -> None:  # noqa: N802 - http.server's own name
            self.answer(302, b"", {"Location": "/"})

    with serving(Circle) as port, pytest.raises(requests.TooManyRedirects):
        get(f"http://127.0.0.1:{port}/", LONG_SECONDS)
