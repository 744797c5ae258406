"""What rules for the whole code look at: each module, parsed once for all of them, and its texts."""

import ast
import gc
from collections.abc import Iterator
from functools import cache
from pathlib import Path

TOP = Path(__file__).parents[2]


def modules() -> list[Path]:
    """Return the files of the code, in order."""
    return sorted(path for room in ("pipeline", "tasks") for path in (TOP / room).rglob("*.py"))


def parsed(path: Path) -> ast.Module:
    """Return the tree of a module. It is shared: nobody changes it."""
    return _trees()[path]


@cache
def _trees() -> dict[Path, ast.Module]:
    # To search half a million nodes for garbage, while they are made, takes twice as long as to make them.
    gc.disable()
    try:
        return {path: ast.parse(path.read_text()) for path in modules()}
    finally:
        gc.enable()


@cache
def walk(tree: ast.AST) -> tuple[ast.AST, ...]:
    """Return what `ast.walk` gives for a whole module: many rules go through each."""
    return tuple(ast.walk(tree))


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield every string of a module with its line, but for docstrings, which are for people who read it."""
    documented = {id(node.value) for node in walk(tree) if isinstance(node, ast.Expr)}
    for node in walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documented:
            yield node.lineno, node.value


@cache
def functions(path: Path) -> frozenset[str]:
    """Return the names of all functions in a module."""
    tree = ast.parse(path.read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
