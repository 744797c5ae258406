"""What a source, a database or a table may be called, and what a misspelt name was probably meant to be."""

import json
import re
from collections.abc import Iterable

# Schemas of the warehouse that belong to the pipeline or to PostgreSQL.
RESERVED = frozenset({"ops", "staging", "quarantine", "mart", "analyst", "platform", "public"}) | {
    "information_schema"
}
# Columns that the pipeline adds to loaded tables.
RESERVED_COLUMNS = frozenset({"_loaded_at", "_deleted_at"})
# And to their histories.
HISTORY_COLUMNS = frozenset({"_valid_from", "_valid_to"})
# PostgreSQL cuts longer identifiers off without a word.
MAXIMUM_BYTES = 63

# What YAML takes for something else than a word.
_YAML_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})

_PATTERN = re.compile(r"[a-z][a-z0-9_]*")


def problem(name: str) -> str | None:
    """Return why no source or database can be called `name`, with what to do, or None if it can.

    >>> problem("hr")
    >>> problem("mart")
    'the name "mart" is reserved by the warehouse; choose another'
    """
    if not _PATTERN.fullmatch(name):
        return f'the name "{name}" is not valid; use lowercase letters, digits and _, and begin with a letter'
    if name in RESERVED or name.startswith("pg_"):
        return f'the name "{name}" is reserved by the warehouse; choose another'
    if len(name) > MAXIMUM_BYTES:
        return f'the name "{name}" is longer than {MAXIMUM_BYTES} characters; shorten it'
    return None


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that `name` was probably meant to be, or None."""
    import difflib  # noqa: PLC0415 - most names are known, and short commands wait for each import

    spelt = {other.lower().replace("-", "_"): other for other in known}
    close = difflib.get_close_matches(name.lower().replace("-", "_"), spelt, n=1, cutoff=0.6)
    return spelt[close[0]] if close else None


def advice(name: str, known: Iterable[str]) -> str:
    """Return what to do about an unknown name: the near match as a question, else all known names.

    >>> advice("null_rat", ["mask", "null_rate"])
    'did you mean null_rate?'
    >>> advice("colour", ["mask", "null_rate"])
    'known: mask, null_rate'
    """
    known = sorted(known)
    if match := nearest(name, known):
        return f"did you mean {match}?"
    return f"known: {', '.join(known)}" if known else "there is none yet"


def in_yaml(name: str) -> str:
    """Return a name as it is to be written into a YAML file.

    >>> in_yaml("grade"), in_yaml("no"), in_yaml("Post: Code")
    ('grade', '"no"', '"Post: Code"')
    """
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) and name.lower() not in _YAML_WORDS
    return name if plain else json.dumps(name, ensure_ascii=False)


def anchor(name: str) -> str:
    """Return what a thing is called in an address.

    >>> anchor("dashboard staff"), anchor('hr."odd')
    ('dashboard-staff', 'hr.-22odd')
    """
    return "".join(
        letter if letter.isalnum() or letter in "._" else "-" if letter == " " else f"-{ord(letter):x}"
        for letter in name
    )
