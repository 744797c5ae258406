"""One word for one thing: what docs/style.md says is not used is in no name and no message."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from pipeline.sandbox.home import PROJECT
from tests.support import source_code

GUIDE = PROJECT / "docs" / "style.md"
WRITTEN_BY_PEOPLE = ("README.md", "CHANGELOG.md", "docs", "luigi.cfg", "examples")
# Revisions that are in somebody's warehouse keep their names.
RELEASED = "migrations"
# They say neither what a function does nor what a value is.
NOT_IN_NAMES = frozenset(
    {"tell", "tells", "told", "say", "says", "said", "look", "looks", "found", "thing", "things"}
    # The field has other words for what these stood for here; English needs them elsewhere.
    | {"silent", "facts", "well", "guard", "lost", "forget", "forgotten", "bad"}
)
# Names of others, and what is called so by everybody: a file has a position that it tells, a program is not
# found, a request is bad, a connection is lost.
NAMES_OF_OTHERS = re.compile(
    r"tell|FileNotFoundError|\w*NotFound|BucketIdNotFound|Bad[A-Z]\w*|BAD_REQUEST|BAD_GATEWAY|NOT_FOUND|KEY_FOUND"
    r"|LostError|CONNECTION_LOST|is_lost"
)
# A clause in the place of the subject, and words that a reader stumbles over.
NOT_IN_MESSAGES = re.compile(
    r"(?:^|[.;:] )(?:What|Who) \w+|\b(?:[Ww]hoever|anew|is let (?:in|go)|goes on from)\b"
    r"|\b(?:as (?:it|they) should be|told to stop|without a word|set aside|any more|[Ii]t said)\b"
    r"|, for (?:its?|these|they|their) "
)
# How a question begins, or what says no more than to look.
NOT_A_HINT = re.compile(
    r"(?:is|are|was|were|does|did|do|has|have|can|then|there|it|see to|see what|look)\b", re.I
)
# What is described there is a field: a clause is all that is to be said of it.
DESCRIPTIONS = ("pipeline/alerts/message.py", "pipeline/alerts/schema.py")


def banned() -> set[str]:
    """Return the words of the glossary's last column."""
    rows = re.findall(r"^\|.*\|(.*)\|$", GUIDE.read_text().partition("## Messages")[0], re.MULTILINE)
    listed = {word for row in rows[2:] for word in re.findall(r"(?<![*a-z])[a-z]+(?![*a-z])", row)}
    assert {"verdict", "mend", "courier"} <= listed, "the glossary is read otherwise than it is written"
    return listed


def banned_in_names() -> set[str]:
    """Return the words of the glossary's last column that are in italics."""
    rows = re.findall(r"^\|.*\|(.*)\|$", GUIDE.read_text().partition("## Messages")[0], re.MULTILINE)
    return {word for row in rows[2:] for word in re.findall(r"\*([a-z]+)\*", row)}


def words(text: str) -> list[str]:
    """Return the words of a name or a sentence, in lowercase.

    >>> words("AlertSubject of_one")
    ['alert', 'subject', 'of', 'one']
    """
    return re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", text).lower())


def named(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield each name and text of a module, with its line."""
    for node in source_code.walk(tree):
        match node:
            case ast.Name(id=text) | ast.arg(arg=text) | ast.Attribute(attr=text):
                yield node.lineno, text
            case ast.FunctionDef(name=text) | ast.ClassDef(name=text):
                yield node.lineno, text
            case ast.Constant(value=str(text)):
                yield node.lineno, text


def names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield each name that a module gives or uses, with its line; no text."""
    for node in source_code.walk(tree):
        match node:
            case ast.Name(id=text) | ast.arg(arg=text) | ast.Attribute(attr=text):
                yield node.lineno, text
            case ast.FunctionDef(name=text) | ast.ClassDef(name=text):
                yield node.lineno, text
            case ast.keyword(arg=str(text)) | ast.alias(asname=str(text)) | ast.MatchAs(name=str(text)):
                yield node.lineno, text


def wrong(tree: ast.AST, out: set[str]) -> list[tuple[int, str]]:
    """Return the lines of a module with a word that is out, and the word."""
    return [(line, word) for line, text in named(tree) for word in words(text) if word in out]


def named_modules() -> list[Path]:
    """Return the files of the code whose names may change."""
    return [path for path in source_code.modules() if RELEASED not in path.parts]


def test_a_word_that_is_out_is_in_no_name_and_no_message() -> None:
    out = banned()
    found = [
        f"{file.relative_to(PROJECT)}:{line}: {word}"
        for file in named_modules()
        for line, word in [*wrong(source_code.parsed(file), out), *((1, one) for one in {file.stem} & out)]
    ]
    assert found == []


def test_no_name_is_made_of_words_that_say_nothing_of_what_it_is() -> None:
    wrong_names = [
        f"{file.relative_to(PROJECT)}:{line}: {text}"
        for file in named_modules()
        for line, text in names(source_code.parsed(file))
        if NOT_IN_NAMES.intersection(words(text)) and not NAMES_OF_OTHERS.fullmatch(text)
    ]
    assert wrong_names == []
    assert banned_in_names() <= NOT_IN_NAMES, "the glossary says so, and the rule does not"


def test_a_message_begins_with_its_subject() -> None:
    found = [
        f"{file.relative_to(PROJECT)}:{line}: {text}"
        for file in named_modules()
        if str(file.relative_to(PROJECT)) not in DESCRIPTIONS
        for line, text in source_code.texts(source_code.parsed(file))
        if NOT_IN_MESSAGES.search(text)
    ]
    assert found == []


def hints(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the beginning of each hint that is written as a text, with its line."""
    for node in source_code.walk(tree):
        match node:
            case ast.keyword(arg="hint", value=ast.Constant(value=str(text)) as value):
                yield value.lineno, text
            case ast.keyword(
                arg="hint", value=ast.JoinedStr(values=[ast.Constant(value=str(text)), *_]) as value
            ):
                yield value.lineno, text


def test_a_hint_is_an_imperative_and_no_question() -> None:
    wrong_hints = [
        f"{file.relative_to(PROJECT)}:{line}: {text}"
        for file in named_modules()
        for line, text in hints(source_code.parsed(file))
        if NOT_A_HINT.match(text)
    ]
    assert wrong_hints == []


def test_a_word_that_is_out_is_in_no_document() -> None:
    out = banned()
    files = [
        file
        for name in WRITTEN_BY_PEOPLE
        for file in ([PROJECT / name] if (PROJECT / name).is_file() else (PROJECT / name).rglob("*"))
        if file.suffix in (".md", ".cfg", ".yaml", ".sql") and file != GUIDE
    ]
    found = {f"{file.name}: {word}" for file in files for word in words(file.read_text()) if word in out}
    assert found == set()


def test_a_message_says_is_not_a_and_not_is_no() -> None:
    wrote = re.compile(r"(?<!there )\bis no (?!longer|such|room|more\b)['A-Za-z]")
    found = [
        f"{file.relative_to(PROJECT)}:{line}: {text}"
        for file in named_modules()
        for line, text in source_code.texts(source_code.parsed(file))
        if wrote.search(text)
    ]
    assert found == []


def test_every_file_is_formatted_without_exceptions() -> None:
    exception = re.compile(r"#\s*fmt:\s*(skip|off)")
    folders = (PROJECT / name for name in ("pipeline", "tasks", "tests"))
    files = [path for folder in folders for path in folder.rglob("*.py") if path != Path(__file__)]
    assert [str(path.relative_to(PROJECT)) for path in files if exception.search(path.read_text())] == []


def test_the_rule_finds_what_breaks_it() -> None:
    tree = ast.parse("class TheVerdict:\n    def send(self): raise ValueError('mend it')\n")
    assert wrong(tree, banned()) == [(1, "verdict"), (2, "mend")]
    assert [text for _, text in names(tree)] == ["TheVerdict", "send", "self", "ValueError"]
    named_badly = ast.parse("def f(say):\n    found, rows = 1, 2\n    g(looks=rows)\nclass LostError: pass\n")
    flagged = {text for _, text in names(named_badly) if NOT_IN_NAMES.intersection(words(text))}
    assert flagged == {"say", "found", "looks", "LostError"}
    assert {text for text in flagged if not NAMES_OF_OTHERS.fullmatch(text)} == {"say", "found", "looks"}
    asked = ast.parse("raise E('it is late', hint='is it known?')\nraise E(hint=f'Did you mean {x}?')")
    assert [line for line, text in hints(asked) if NOT_A_HINT.match(text)] == [1, 2]
    assert NOT_IN_MESSAGES.search("hr: it is late; Whoever reads this")
    assert not NOT_IN_MESSAGES.search("hr: no connection; see who reads it")
