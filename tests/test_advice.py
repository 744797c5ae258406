"""What to do is known from an error's kind, a code or by asking, and not from words that a program wrote.

They change with its version, its language, and with what somebody called a table.
"""

import ast
from collections.abc import Iterator
from typing import TypeGuard

from pipeline.sandbox.home import PROJECT
from tests.support import source_code

# Where somebody's words are, by the names that they have here.
ATTRIBUTES = frozenset({"fact", "stderr", "stdout", "output"})
NAMES = frozenset({"complaint", "error", "message", "output", "stderr"})
ERRORS = frozenset({"error", "exception", "failure", "reason"})
ASKED = frozenset({"search", "match", "fullmatch", "findall", "finditer", "startswith", "endswith"})
# Where there is no other sign, or no advice comes of it: how many places a file has, and why.
NO_OTHER_SIGN = {
    "pipeline/backup/dump.py": (1, "pg_dump always ends with 1: a lost connection is tried again"),
    "pipeline/backup/pgbackrest/cluster.py": (3, "pg_checksums, and a server that recovers: no advice"),
    "pipeline/backup/pgbackrest/machine.py": (1, "a version"),
    "pipeline/backup/pgbackrest/program.py": (1, "our own error"),
    "pipeline/backup/restoring/pg_restore.py": (2, "pg_restore always ends with 1: a lost connection"),
    "pipeline/backup/tools.py": (2, "a version; and what pg_dump can compress, before it connects"),
    "pipeline/bucket/refusals.py": (2, "B2 has one code, bad_request, for these: whether it is tried again"),
    "pipeline/cli/oncall/restore.py": (1, "libpq before it is connected: whether to ask for a password"),
    "pipeline/crypt/private.py": (2, "gpg's status lines, which are for programs"),
    "pipeline/crypt/public.py": (1, "gpg's status lines, which are for programs"),
    "pipeline/errors.py": (1, "our own error"),
    "pipeline/git/repository.py": (1, "which line of ssh's is shown: no advice"),
    "pipeline/log.py": (1, "Luigi's RuntimeError has no kind of its own"),
    "pipeline/postgres/session.py": (2, "libpq before it is connected: whether it is tried again"),
    "tasks/events.py": (1, "Luigi's RuntimeError has no kind of its own"),
    "tasks/worker/client.py": (2, "Luigi's lines in a log: which are shown"),
}


def is_of_a_record(node: ast.AST) -> TypeGuard[ast.Attribute | ast.Subscript]:
    """Whether an expression takes something from a record of an error, rather than from its text."""
    match node:
        case ast.Subscript(value=ast.Name("error")):
            return True
        case ast.Attribute(value=ast.Name("error"), attr=name):
            return not hasattr(str, name)
    return False


def is_of_words(node: ast.AST) -> bool:
    """Whether an expression is what a program or an error has said."""
    # A code, or where it was: no words.
    codes = {id(part.value) for part in ast.walk(node) if is_of_a_record(part)}
    for part in ast.walk(node):
        match part:
            case ast.Attribute(attr=name) if name in ATTRIBUTES:
                return True
            case ast.Name() if id(part) in codes:
                pass
            case ast.Call(func=ast.Name("str"), args=[ast.Name(name)]) if name in ERRORS:
                return True
            case ast.Name(name) if name in NAMES:
                return True
    return False


def searched(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield each place where words are searched, and how."""
    for node in source_code.walk(tree):
        match node:
            case ast.Compare(ops=[ast.In() | ast.NotIn()], comparators=[within]) if is_of_words(within):
                yield node.lineno, ast.unparse(node)
            case ast.Call(func=ast.Attribute(value=whose, attr=name), args=given) if name in ASKED:
                if any(map(is_of_words, [*given, whose])):
                    yield node.lineno, ast.unparse(node)


def places() -> dict[str, list[str]]:
    """Return, by file, where words of programs or errors are searched."""
    found: dict[str, list[str]] = {}
    for path in source_code.modules():
        file = str(path.relative_to(PROJECT))
        if lines := [f"{file}:{line}: {text}" for line, text in searched(source_code.parsed(path))]:
            found[file] = lines
    return found


def test_no_advice_is_found_in_the_words_of_a_program() -> None:
    found = places()
    assert {file: len(lines) for file, lines in found.items()} == {
        file: count for file, (count, _) in NO_OTHER_SIGN.items()
    }, [
        line
        for file, lines in found.items()
        if len(lines) != NO_OTHER_SIGN.get(file, (0,))[0]
        for line in lines
    ]


def test_a_place_where_words_are_searched_is_seen() -> None:
    """Whichever of these forms it has; and what is no such place is none."""
    code = """
if "No space" in str(error): pass
if "sealed" in str(error).lower(): pass
re.search("denied", result.stderr)
DENIED.findall(output)
error.fact.startswith("no")
if name in names: pass
PATTERN.search(name)
SERVER.search(error or "")
if "refused" in error.lower(): pass
error.pgcode.startswith("57")
if "checks" in error["loc"]: pass
"""
    assert [line for line, _ in searched(ast.parse(code))] == [2, 3, 4, 5, 6, 9, 10]
