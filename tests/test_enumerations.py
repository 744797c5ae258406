"""A word of a closed set is a member of an enumeration, and no string that somebody can misspell."""

import ast
from collections.abc import Iterator

from pipeline.sandbox.home import PROJECT
from tests.support import source_code

# What holds one of a few words.
OF_A_SET = frozenset(
    {"kind", "state", "mode", "action", "severity", "level", "since", "order", "clock", "result", "outcome"}
    | {"unit", "method", "status", "changes", "deletes", "drift", "grade", "form", "chart", "mask"}
)
# The words of others, as their programs and servers give them, and names of columns.
OF_OTHERS = {
    "pipeline/backup/restoring/restoration.py": "PostgreSQL's names of what a database holds",
    "pipeline/backup/restoring/target.py": "PostgreSQL's names of what a database holds",
    "pipeline/bounded_http.py": "those of HTTP",
    "pipeline/bucket/objects.py": "those of B2, as its SDK has them",
    "pipeline/dashboards/connection.py": "libpq's",
    "pipeline/nomad/deploy.py": "Nomad's",
    "pipeline/dashboards/wanted.py": "Metabase's",
    "pipeline/metabase/client.py": "Metabase's",
    "pipeline/sandbox/b2": "those of B2, as its SDK has them",
    "pipeline/sync/tree.py": "git's",
}


def compared(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield each comparison of what holds a word of a set with a string, and its line."""
    for node in source_code.walk(tree):
        match node:
            case ast.Compare(left=left, comparators=others):
                sides = [left, *others]
            case ast.Match(subject=subject, cases=cases):
                sides = [
                    subject,
                    *(each.pattern.value for each in cases if isinstance(each.pattern, ast.MatchValue)),
                ]
            case _:
                continue
        named = [side.attr if isinstance(side, ast.Attribute) else getattr(side, "id", "") for side in sides]
        parts = [
            one for side in sides for one in getattr(side, "elts", [side]) if isinstance(one, ast.Constant)
        ]
        if OF_A_SET.intersection(named) and any(isinstance(one.value, str) and one.value for one in parts):
            yield node.lineno if isinstance(node, ast.expr) else node.subject.lineno, ast.unparse(sides[0])


def is_of_others(file: str) -> bool:
    """Whether the words of a file are those of somebody else."""
    return any(file.startswith(known) for known in OF_OTHERS)


def test_no_word_of_a_set_is_compared_as_a_string() -> None:
    wrong = [
        f"{file}:{line}: {text}"
        for path in source_code.modules()
        if not is_of_others(file := str(path.relative_to(PROJECT)))
        for line, text in compared(source_code.parsed(path))
    ]
    assert wrong == []


def test_the_rule_finds_what_breaks_it() -> None:
    assert list(compared(ast.parse("step.state == 'done'"))) == [(1, "step.state")]
    assert list(compared(ast.parse("since in ('extract', 'load')"))) == [(1, "since")]
    assert list(compared(ast.parse("match one.kind:\n  case 'bar': pass"))) == [(1, "one.kind")]
    assert list(compared(ast.parse("step.state == State.DONE or name == 'hr'"))) == []
