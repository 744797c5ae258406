"""SQL that the parser does not know is written as it does: nothing that is read is lost, no line moves."""

import pytest

from pipeline.catalog import plain, queries


@pytest.mark.parametrize(
    ("text", "columns", "gives"),
    [
        (
            "SELECT JSON_VALUE(e, '$.b' PASSING i AS x RETURNING int DEFAULT 1 ON EMPTY) FROM a.b",
            "ei",
            "json_value",
        ),
        ("SELECT json_query(e, '$.a' WITH WRAPPER OMIT QUOTES\n ERROR ON ERROR) AS q FROM a.b", "e", "q"),
        (
            "SELECT t FROM a.b, JSON_TABLE(e, '$' PASSING i + j AS k COLUMNS (NESTED '$.x' COLUMNS (t int)))",
            "eijt",
            "t",
        ),
        ("SELECT k.t FROM a.b JOIN a.c USING (i, j) AS k", "ijt", "t"),
    ],
)
def test_what_the_parser_does_not_know_is_read_all_the_same(text: str, columns: str, gives: str) -> None:
    query = queries.parse(text)
    assert (query.columns, query.gives) == (frozenset(columns), (gives,))
    assert "a.b" in [str(one) for one in query.relations]
    assert plain.plain(text).count("\n") == text.count("\n")


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 'JSON_VALUE(a PASSING b AS c)' AS x FROM a.b",
        'SELECT "USING" FROM a.b ORDER BY 1 -- JSON_TABLE(',
        "SELECT JSON_VALUE(e, '$",
        "SELECT JSON_TABLE(((",
        "SELECT x USING (",
    ],
)
def test_strings_comments_names_and_what_is_no_sql_stay_as_they_are(text: str) -> None:
    assert plain.plain(text) == text


def test_what_the_parser_itself_fails_at_is_one_problem_and_no_traceback() -> None:
    """As it does in the sight of pytest alone."""
    with pytest.raises(queries.QueryError, match="the parser fails"):
        queries.parse("SELECT x.* FROM XMLTABLE('/a' PASSING '<a/>' COLUMNS n FOR ORDINALITY) AS x")
