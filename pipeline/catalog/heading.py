"""Reads the comment that a mart's file begins with: what the mart is, in prose, and what is declared of it.

The declarations are YAML, from the first line on that begins with one of their keys.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator

from pipeline import names
from pipeline.catalog import check_kinds, document, queries
from pipeline.catalog.check_kinds import Check
from pipeline.catalog.declared import Declared
from pipeline.catalog.document import Document, Path, dotted
from pipeline.catalog.source_files.columns import Column
from pipeline.catalog.source_files.validation import validated
from pipeline.catalog.values import ColumnNames, Materialize, Name

Problem = tuple[int, str]

# What only a table that is copied from a source can have declared of a column.
OF_SOURCES = ("mask", "type", "renamed_from")

_COMMENT = re.compile(r"--( ?)(.*)")
_KEY = re.compile(r"(\w+)\s*:(?:\s|$)")
# A line that can only be meant as a declaration, in whichever form of a comment.
_MEANT = re.compile(r"\s*(?:--+|/\*+|\*)?\s*(materialize|indexes|columns|checks)\s*:(?:\s|$)")
# Likewise where it lacks its colon; within the SQL such a comment is the heading of what comes below it.
_WITHOUT_COLON = re.compile(r"--\s*(materialize|indexes|columns|checks)\s*(?:=?\s*(?:table|view))?\s*$")


class Heading(Declared):
    """What is declared of a mart, in the comment that its file begins with."""

    materialize: Materialize = Materialize.VIEW
    """view: always as fresh as its tables (default); table: computed once a night."""
    indexes: Annotated[
        tuple[ColumnNames, ...], BeforeValidator(lambda value: value if isinstance(value, list) else [value])
    ] = ()
    """With materialize: table, the columns of each index."""
    columns: Mapping[Name, Column] = {}
    """Only columns of which there is something to say."""
    checks: tuple[Check, ...] = ()
    """What must hold before anybody sees the rows."""


def read(text: str) -> tuple[str, Heading, list[Problem], list[tuple[int, queries.Relation]]]:
    """Return the prose of a mart's comment, what is declared in it, what is wrong with that, and what its
    checks read beside the mart, each with its line.
    """
    prose, written, unread = _split(text)
    if written.problems and written.value is None:
        wrong = [
            (line, f"{problem} (there is text before the first key)") for line, problem in written.problems
        ]
        return prose, Heading(), [*wrong, *unread], []
    heading, problems = validated(written, Heading) if written.value is not None else (Heading(), [])
    wrong, named = _checks(written)
    wrong_lines = [*written.problems, *problems, *_rules(written), *wrong, *unread]
    return prose, heading or Heading(), wrong_lines, named


def _split(text: str) -> tuple[str, Document, list[Problem]]:
    """Return the prose, the rest as a document that has the lines of the file, and what is meant for it and
    stands elsewhere.

    A check that is not read is one that always holds, so no such line is passed over.
    """
    prose: list[str] = []
    yaml: list[str] = []
    unread: list[Problem] = []
    begun = ended = False
    # The lines of SQL: Python knows more ends of a line, which a word processor puts into a sentence.
    for number, line in enumerate(text.split("\n"), start=1):
        comment = _COMMENT.fullmatch(line.strip())
        # Empty lines may stand above it.
        ended = ended or (comment is None and bool(line.strip() or any(prose) or begun))
        if comment and not ended:
            key = _KEY.match(comment[2])
            begun = begun or bool(key and names.nearest(key[1], Heading.model_fields))
        is_yaml = comment is not None and begun and not ended
        yaml.append(comment[2] if comment and is_yaml else "")
        if comment and not begun and not ended:
            prose.append(comment[2].strip())
        meant = _MEANT.match(line) or (None if ended else _WITHOUT_COLON.match(line.lstrip()))
        if meant and not is_yaml:
            unread.append((number, f"{meant[1]}: {_ELSEWHERE}"))
    return " ".join(prose).strip(), document.parse("\n".join(yaml) + "\n"), unread


_ELSEWHERE = (
    "is read only as YAML of the comment that the file begins with; write it there, after -- and one space, "
    "with its colon, and no empty line within that comment"
)


def _rules(written: Document) -> Iterator[Problem]:
    """Tell what would be right for a table of a source, and is not for a mart."""

    def wrong(path: Path, what: str) -> Problem:
        return written.line(path), f"{dotted(path)}: {what}"

    if written.at(("indexes",)) and written.at(("materialize",)) != Materialize.TABLE:
        yield wrong(("indexes",), "only a table has indexes; write materialize: table")
    for name, column in _mapping(written.at(("columns",))).items():
        for key in OF_SOURCES:
            if key in _mapping(column):
                yield wrong(("columns", name, key), "is for columns that come from a source; remove this")
        for rule, value in _mapping(column).items():
            if isinstance(value, dict) and "quarantine" in value:
                yield wrong(("columns", name, rule, "quarantine"), _WHOLE)
    for index, check in enumerate(_listed(written.at(("checks",)))):
        path: Path = ("checks", index)
        if "quarantine" in check:
            yield wrong((*path, "quarantine"), _WHOLE)
        for kind, rule in check_kinds.written(check):
            for where, to in kind.tables_in(rule):
                if to.count(".") != 1:
                    what = f"{to}: write its source or mart before it, as hr.department"
                    yield wrong((*path, kind.kind, *where), what)


_WHOLE = "a mart is built as a whole or not at all, and no rows are quarantined; remove this"


def _checks(written: Document) -> tuple[list[Problem], list[tuple[int, queries.Relation]]]:
    wrong: list[Problem] = []
    named: list[tuple[int, queries.Relation]] = []
    for index, check in enumerate(_listed(written.at(("checks",)))):
        for kind, rule in check_kinds.written(check):
            path: Path = ("checks", index, kind.kind)
            for where, to in kind.tables_in(rule):
                schema, point, name = to.partition(".")
                if point and "." not in name:
                    line = written.line((*path, *where))
                    named.append((line, queries.Relation(schema, name, line)))
            if (text := kind.query_in(rule)) is None:
                continue
            try:
                query = queries.parse_check(text)
            except queries.QueryError as error:
                wrong.append((written.line(path), f"{dotted(path)}: {error.problem}"))
            else:
                named += [(written.line(path), relation) for relation in query.relations]
    return wrong, named


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _listed(value: Any) -> list[dict[str, Any]]:
    return [_mapping(each) for each in value] if isinstance(value, list) else []
