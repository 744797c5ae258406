"""What a server of another's could answer: a line that hands everything on and spoils some of the answers."""

import contextlib
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import requests

from tests.support.recording import Handler, serving

SECONDS = 30
# What stands in place of a value that was to be of another kind.
ODD: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1e308,
    "",
    "<html>",
    "é\u0000\ud800",
    [],
    {},
    [None],
    {"a": 1},
    10**30,
)
PAGE = b"<!DOCTYPE html><html><head><title>Log in</title></head><body>" + b"x" * 500 + b"</body></html>"
ODD_JSON = ("null", "true", "7", '"text"', "[]", "{}", "[{}]", '{"data": null}', '{"auth": null, "data": []}')
# A whole answer that is none: status, headers, body.
WHOLE: dict[str, tuple[int, dict[str, str], bytes]] = {
    "an empty answer": (200, {"Content-Type": "application/json"}, b""),
    "a page": (200, {"Content-Type": "text/html"}, PAGE),
    "a page as JSON": (200, {"Content-Type": "application/json"}, PAGE),
    "a page of an error": (500, {"Content-Type": "text/html"}, PAGE),
    "an error of a proxy": (502, {"Content-Type": "text/html"}, PAGE),
    "an unknown status": (299, {"Content-Type": "application/json"}, b"{}"),
    "no content": (204, {}, b""),
    "a redirect to elsewhere": (302, {"Location": "http://127.0.0.1:9/else"}, b""),
    "a redirect without a place": (302, {}, b""),
    "JSON of another charset": (200, {"Content-Type": "application/json; charset=utf-16"}, b"\xff\xfe{\x00"),
    "bytes": (200, {"Content-Type": "application/octet-stream"}, bytes(range(256))),
    "a lone surrogate": (200, {"Content-Type": "application/json"}, b'{"data": "\\ud800"}'),
    "endless brackets": (200, {"Content-Type": "application/json"}, b"[" * 100_000),
    "a huge number": (200, {"Content-Type": "application/json"}, b'{"a": ' + b"9" * 5000 + b"}"),
    "an error of another kind": (400, {"Content-Type": "application/json"}, b'{"errors": 7, "message": []}'),
    "an error that is a list": (403, {"Content-Type": "application/json"}, b'["no"]'),
    "an error that is a number": (404, {"Content-Type": "application/json"}, b"7"),
    **{f"JSON {text}": (200, {"Content-Type": "application/json"}, text.encode()) for text in ODD_JSON},
}


@dataclass(frozen=True)
class Answer:
    """One answer: its status, its headers and its body."""

    status: int
    headers: dict[str, str]
    body: bytes


Spoil = Callable[[str, Answer], Answer]


def whole(kind: str, after: int = 0) -> Spoil:
    """Answer all but the first `after` requests by one that is none."""
    asked = iter(range(1_000_000))
    return lambda _, answer: Answer(*WHOLE[kind]) if next(asked) >= after else answer


def mutated(seed: int) -> Spoil:
    """Spoil one of the first answers at one place, and leave the others as they are."""
    chance = random.Random(seed)  # noqa: S311 - to be the same again
    left = chance.randrange(8)

    def spoil(_path: str, answer: Answer) -> Answer:
        nonlocal left
        left -= 1
        if left >= 0:
            return answer
        left = chance.randrange(8)
        return Answer(answer.status, answer.headers, _spoiled(chance, answer.body))

    return spoil


def _spoiled(chance: random.Random, body: bytes) -> bytes:
    if chance.random() < 0.15:
        return body[: chance.randrange(len(body) + 1)]
    try:
        value = json.loads(body)
    except ValueError:
        return body[::-1]
    return json.dumps(_changed(chance, value)).encode()


def _changed(chance: random.Random, value: Any) -> Any:
    """Return a value in which one thing is missing, of another kind, or one too many."""
    inside: list[Any] = []
    if isinstance(value, dict) and value:
        inside = sorted(value)
    elif isinstance(value, list) and value:
        inside = list(range(len(value)))
    if not inside or chance.random() < 0.2:
        return chance.choice(ODD)
    where, made = chance.choice(inside), dict(value) if isinstance(value, dict) else list(value)
    if chance.random() < 0.25:
        del made[where]
    else:
        made[where] = _changed(chance, made[where])
    return made


@contextlib.contextmanager
def garbling(upstream: str, spoil: Spoil) -> Iterator[str]:
    """Serve what a server answers, spoilt; yield the address."""

    class Between(Handler):
        def _do(self) -> None:
            body = self.body()
            kept = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            answered = requests.request(
                self.command,
                f"{upstream}{self.path}",
                headers=kept,
                data=body,
                timeout=SECONDS,
                allow_redirects=False,
            )
            sent = {"Content-Type": answered.headers.get("Content-Type", "application/json")}
            # What names itself would be asked without us.
            content = answered.content.replace(upstream.encode(), f"http://{self.headers['Host']}".encode())
            answer = spoil(self.path, Answer(answered.status_code, sent, content))
            self.answer(answer.status, answer.body, answer.headers)

        do_GET = do_POST = do_PUT = do_LIST = do_DELETE = do_HEAD = _do  # noqa: N815 - http.server's own names

    with serving(Between) as port:
        yield f"http://127.0.0.1:{port}"
