"""What may stand after `where:`: a condition on the row itself, and nothing else, told with file and line."""

from pathlib import Path

import pytest

from pipeline import catalog
from pipeline.catalog.queries import QueryError
from pipeline.catalog.source_files import conditions
from pipeline.errors import ProblemsError


@pytest.mark.parametrize(
    ("text", "steady"),
    [
        ("active", True),
        ("state IN ('open', 'shut') AND NOT is_test", True),
        ("\"Mixed\" LIKE '%--;$?%' OR id BETWEEN 1 AND 9", True),
        ("name ~ '^\\d+$'", True),
        ("hired_on >= '2020-01-01'", True),
        ("hired_on >= 'yesterday'", False),
        ("created_at > now() - interval '2 years'", False),
        ("day > current_date", False),
        ("data->>'kind' = 'x'", False),
        ("lower(name) = 'x'", False),
        ("day::date = '2026-01-01'", False),
    ],
)
def test_a_condition_on_the_row_is_taken(text: str, steady: bool) -> None:
    assert conditions.parse(text).steady == steady


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "more than one expression"),
        ("1 = 1", "names no column"),
        ("id IN (SELECT id FROM other)", "reads another table"),
        ("EXISTS (SELECT FROM other)", "reads another table"),
        ("id = 1) UNION SELECT (1", "more than one expression"),
        ("id = 1) OR (id = 2", "more than one expression"),
        ("id = 1; DROP TABLE x", "has a ;"),
        ("id = 1 -- so", "has a comment"),
        ("id = 1 /* so */", "has a comment"),
        ("name = $$x$$", "has a $"),
        ("name = E'\\' OR true'", "character before the quotes"),
        ("name = U&'\\0041'", "character before the quotes"),
        ("id OPERATOR(public.=) 1", "names an operator by its schema"),
        ("item.id = 1", "has a dot"),
        ("public.f(id)", "a name with a dot"),
        ("(address).city = 'x'", "a name with a dot"),
        ("item.* IS NULL", "has a *; name the columns"),
        ("count(id) > 1", "reads more than one row"),
        ("row_number() OVER () = id", "reads more than one row"),
        ("random() < share", "is not repeatable"),
        (
            "day < statement_timestamp()",
            "it differs between the queries of one snapshot; write now()",
        ),
        ('day < "statement_timestamp"()', "write now()"),
        ("day < Clock_Timestamp ()", "write now()"),
        ("day < timeofday()::date", "write now()"),
        ('"random"() < share', "is not repeatable"),
        ('"random" \n () < share', "is not repeatable"),
        ('"gen_random_uuid"() = id', "is not repeatable"),
        ('"clock_timestamp"() > at', "is not repeatable"),
        ("pg_sleep(9) IS NULL OR id = 1", "only waits"),
        ("state::public.t = 'x'", "a name with a dot"),
        ("state::mine = 'x'", "casts to mine"),
        ("user = 'x'", "is the current role"),
        ("id =", "is not a complete condition"),
        ("id = 1 ORDER BY 1", "is not valid SQL"),
    ],
)
def test_anything_else_is_refused(text: str, problem: str) -> None:
    with pytest.raises(QueryError, match=r".") as raised:
        conditions.parse(text)
    assert problem in raised.value.problem


@pytest.mark.parametrize(
    ("text", "functions"),
    [
        ("Lower(name) = 'random()'", ("lower",)),
        ("\"lower\"(name) = 'x' AND upper (name) = 'X'", ("lower", "upper")),
        ('"ran""dom"(id)', ('ran"dom',)),
        ('"random(" IN (1) AND id', ("in",)),
        ('"it\'s" = \'x\' AND "pg_export_snapshot"() = \'"f"(1)\'', ("pg_export_snapshot",)),
    ],
)
def test_what_a_condition_calls_is_known_in_double_quotes_too(text: str, functions: tuple[str, ...]) -> None:
    """The source's server is asked of these: what is not among them is called unseen."""
    assert conditions.parse(text).functions == functions


def problems(folder: Path, text: str) -> list[str]:
    (folder / "sources").mkdir()
    (folder / "sources" / "hr.yaml").write_text(text)
    with pytest.raises(ProblemsError) as raised:
        catalog.read(folder)
    return list(raised.value.problems)


def test_problems_are_told_with_file_and_line(tmp_path: Path) -> None:
    told = problems(
        tmp_path,
        "source: hr\ntables:\n  a:\n    where: |\n      id = 1\n      IS = 2\n"
        "  b: {where: id IN (SELECT 1)}\n"
        "  c:\n    columns: {phone: {mask: hash}}\n    where: phone = '1'\n",
    )
    assert told[0].startswith("sources/hr.yaml:6: tables.a.where: is not valid SQL near =")
    assert told[1].startswith("sources/hr.yaml:7: tables.b.where: reads another table")
    assert told[2].startswith("sources/hr.yaml:10: tables.c.where: names phone, which is masked (hash)")
    assert len(told) == 3


def test_where_a_condition_stands_is_no_part_of_what_is_declared(tmp_path: Path) -> None:
    """Else a comment above it would have every table read again that is staged."""
    digests = []
    (tmp_path / "sources").mkdir()
    for comment in ("", "# more\n"):
        (tmp_path / "sources" / "hr.yaml").write_text(
            f"{comment}source: hr\ntables: {{a: {{where: id = 1}}}}\n"
        )
        digests.append(catalog.read(tmp_path).source("hr").table("a").model_dump_json())
    assert digests[0] == digests[1]
