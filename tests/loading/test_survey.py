"""What a live source says of its tables, where its major version matters: the key that is guessed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.loading import listing
from pipeline.postgres import Connection
from tests.support import majors

# The first with NOT NULL ... NOT VALID.
VERSION = 18
TABLES = """
    CREATE TABLE doubtful (code integer UNIQUE, name text);
    INSERT INTO doubtful VALUES (NULL, 'before the rule'), (NULL, 'as well'), (1, 'after it');
    ALTER TABLE doubtful ADD CONSTRAINT has_code NOT NULL code NOT VALID;
    CREATE TABLE sure (another integer UNIQUE, code integer NOT NULL UNIQUE);
    ALTER TABLE sure ADD CONSTRAINT has_another NOT NULL another NOT VALID;
"""


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Connection]:
    with majors.started(VERSION, tmp_path / "server") as server, server.connect("postgres") as connection:
        yield connection


def _keys(source: Connection) -> dict[str, tuple[str, ...]]:
    return {relation.name: relation.key for relation in listing.survey(source, "theirs")}


def test_a_column_whose_not_null_was_never_validated_is_no_key_as_rows_may_have_none(
    source: Connection,
) -> None:
    source.cursor().execute(TABLES)
    assert _keys(source) == {"doubtful": (), "sure": ("code",)}
    source.cursor().execute("ALTER TABLE sure VALIDATE CONSTRAINT has_another")
    assert _keys(source)["sure"] == ("another",)
