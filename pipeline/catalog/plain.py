"""Plain: writes what the parser does not know of PostgreSQL's SQL so that it does, before a text is parsed.

What names a relation or a column of one stays, and so do lines. What is run is the text as it was written.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

# Under another name a function of the standard is one like any other.
SUFFIX = "__plain"
_TABLE, _VALUES = "JSON_TABLE", ("JSON_QUERY", "JSON_VALUE", "JSON_EXISTS")
# How a value is made of JSON, and what stands in its place.
_MANNERS = re.compile(
    r"WITH (CONDITIONAL |UNCONDITIONAL )?(ARRAY )?WRAPPER |WITHOUT (ARRAY )?WRAPPER "
    r"|(KEEP|OMIT) QUOTES (ON SCALAR STRING )?"
    r"|(NULL|ERROR|TRUE|FALSE|UNKNOWN|EMPTY|EMPTY ARRAY|EMPTY OBJECT) ON (EMPTY|ERROR) "
    r"|DEFAULT ([^ ]+ ){1,40}?ON (EMPTY|ERROR) |FORMAT JSON (ENCODING [^ ]+ )?|EXISTS (?=PATH )"
)
_RETURNING = re.compile(
    r"RETURNING (?:(?!NULL|ERROR|TRUE|FALSE|UNKNOWN|EMPTY|DEFAULT|WITH|KEEP|OMIT)[^ ]+ )+"
)
_NESTED = re.compile(r"NESTED (PATH )?\S+ (AS \S+ )?COLUMNS \( ")
# The name of a path.
_NAMED = re.compile(r"AS \S+ (?=COLUMNS \( |PASSING )")
_PASSING, _COLUMNS = "PASSING", "COLUMNS"


def plain(text: str) -> str:
    """Return a text as the parser knows it; as it is, if there is nothing in it that it does not know."""
    if not re.search(r"(?i)\bJSON_(TABLE|QUERY|VALUE|EXISTS)\b|\bUSING\b", text):
        return text
    from sqlglot.dialects.postgres import Postgres  # noqa: PLC0415 - slow to import
    from sqlglot.errors import SqlglotError  # noqa: PLC0415

    try:
        return _Text(text, Postgres().tokenize(text)).plain()
    except SqlglotError:
        return text  # which the parser tells


class _Text:
    """A text, its words, and what is written in the place of each."""

    def __init__(self, text: str, tokens: Sequence[Any]) -> None:
        self.text, self.tokens = text, tokens
        self.written = list(text)
        self.words = [_word(token, number) for number, token in enumerate(tokens)]

    def plain(self) -> str:
        for number, word in enumerate(self.words):
            if self.words[number + 1 : number + 2] != ["("]:
                continue
            end = self._closing(number + 1)
            if word == "USING" and self.words[end + 1 : end + 2] == ["AS"]:
                self._drop(end + 1, end + 3)  # the name of a join
            elif word == _TABLE:
                self._pass_on(number + 2, end)
                self._simplify(number + 2, end, (_MANNERS, _NESTED, _NAMED))
            elif word in _VALUES:
                self._call(number, end)
        return "".join(self.written)

    def _call(self, number: int, end: int) -> None:
        """Write a function of the standard as any other, with its arguments alone."""
        token = self.tokens[number]
        self._drop(number, number + 1)
        self.written[token.start] = f"{token.text.lower()}{SUFFIX}"
        for place, _ in self._passed(number + 2, end):
            self.written[self.tokens[place].start] = ","
        self._simplify(number + 2, end, (_MANNERS, _RETURNING))

    def _pass_on(self, begin: int, end: int) -> None:
        """Write what is passed beside the first argument, for the parser knows no PASSING."""
        passed = list(self._passed(begin, end))
        comma = next(self._separators(begin, end, (",",)), None)
        if not passed or comma is None:
            return
        values = ", ".join(" ".join(value.split()) for _, value in passed)
        stop = next(self._separators(passed[0][0], end, (_COLUMNS,)), end)
        self._drop(passed[0][0], stop)
        self.written[self.tokens[begin].start] = f"coalesce({self.written[self.tokens[begin].start]}"
        self.written[self.tokens[comma].start] = f", {values}),"

    def _passed(self, begin: int, end: int) -> Iterator[tuple[int, str]]:
        """Yield each value that is passed, with where its PASSING or comma is. Take its name away."""
        start = next(self._separators(begin, end, (_PASSING,)), None)
        while start is not None:
            named = next(self._separators(start + 1, end, ("AS",)), None)
            if named is None:
                return
            self._drop(start, start + 1)
            self._drop(named, named + 2)
            yield start, self.text[self.tokens[start + 1].start : self.tokens[named].start]
            start = named + 2 if self.words[named + 2 : named + 3] == [","] else None

    def _simplify(self, begin: int, end: int, known: Sequence[re.Pattern[str]]) -> None:
        place = begin
        while place < end:
            rest = " ".join(self.words[place:end]) + " "
            pattern = next((one for one in known if one.match(rest)), None)
            match = pattern.match(rest) if pattern else None
            count = match[0].count(" ") if match else 1
            if pattern is not None:
                self._drop(place, place + count)
            if pattern is _NESTED:
                closing = self._closing(place + count - 1)
                self._drop(closing, closing + 1)
            place += count

    def _separators(self, begin: int, end: int, wanted: Sequence[str]) -> Iterator[int]:
        """Yield where one of these words stands outside of all brackets."""
        depth = 0
        for place in range(begin, end):
            depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(self.words[place], 0)
            if depth == 0 and self.words[place] in wanted:
                yield place

    def _closing(self, opening: int) -> int:
        """Return where the bracket closes that opens there; the end, if it does not."""
        depth = 0
        for place in range(opening, len(self.words)):
            depth += {"(": 1, ")": -1}.get(self.words[place], 0)
            if depth == 0:
                return place
        return len(self.words) - 1

    def _drop(self, begin: int, end: int) -> None:
        for token in self.tokens[begin:end]:
            for place in range(token.start, token.end + 1):
                self.written[place] = "\n" if self.text[place] == "\n" else " "


def _word(token: Any, number: int) -> str:
    """Return what a token is called among words: a name in quotes and a string are only themselves."""
    if token.token_type.name in ("IDENTIFIER", "STRING") or " " in token.text:
        return f"'{number}'"
    return str(token.text).upper()
