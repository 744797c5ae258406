"""HCL2 as `nomad fmt` writes it."""

from collections.abc import Mapping, Sequence


def quoted(text: str) -> str:
    """Return a string as it is written."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def listed(words: Sequence[str]) -> str:
    """Return a list of strings."""
    return "[" + ", ".join(map(quoted, words)) + "]"


def aligned(pairs: Mapping[str, str]) -> list[str]:
    """Return the lines of arguments, their equals signs below each other."""
    width = max(map(len, pairs))
    return [f"{name:<{width}} = {value}" for name, value in pairs.items()]


def block(head: str, lines: Sequence[str]) -> list[str]:
    """Return the lines of a block."""
    return [f"{head} {{", *(f"  {line}" if line else "" for line in lines), "}"]
