"""Large objects of any size are in a backup, and compared; no server has one in its memory as a whole."""

import hashlib
from collections.abc import Iterator

import pytest

from pipeline import postgres
from pipeline.backup import dump
from pipeline.backup.database import contents
from pipeline.backup.store.manifest import LargeObjects
from pipeline.backup.work import records
from tests.support.platforms import Connection, Platform
from tests.support.restores import RUN, Restores

PIECE = 1000
SIZES = (0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 5)
# No server reads so much at once. Nothing but the last byte is stored.
HUGE = f"SELECT lo_put(lo_from_bytea(4711, ''), {1 << 30}, 'x');"
# Beyond the pieces of a manifest.
LONG = f"SELECT lo_put(lo_from_bytea(4711, 'begin'), {2 * contents.PIECE_BYTES}, 'end');"
# As manifests had it before there were pieces.
AS_A_WHOLE = """
    SELECT
        sum(hashtextextended(oid || ' ' || encode(sha256(lo_get(oid)), 'hex') COLLATE "C", 0)::numeric)::text
    FROM pg_largeobject_metadata
    """


@pytest.fixture
def shop(platform: Platform) -> Iterator[Connection]:
    platform.source("shop")
    with platform.connect("shop") as connection:
        yield connection


def content(size_bytes: int) -> bytes:
    """Return so many bytes, of which no two pieces are equal."""
    return b"".join(b"%7d," % number for number in range(size_bytes // 8 + 1))[:size_bytes]


def test_the_checksum_is_that_of_the_pieces_of_each_and_of_short_ones_as_before(shop: Connection) -> None:
    wanted = 0
    for oid, size in enumerate(SIZES, start=4711):
        data = content(size)
        postgres.rows(shop, "SELECT lo_from_bytea(%s, %s)", (oid, data))
        # The last piece is shorter than the others: of none that has more is the end known.
        pieces = [data[begin : begin + PIECE] for begin in range(0, size + 1, PIECE)]
        hashes = "".join(hashlib.sha256(piece).hexdigest() for piece in pieces)
        wanted += postgres.value(shop, "SELECT hashtextextended(%s, 0)", (f"{oid} {hashes}",))
    counted = contents.large_objects(shop, PIECE)
    assert counted == LargeObjects(count=len(SIZES), checksum=str(wanted), piece_bytes=PIECE)
    whole = contents.large_objects(shop, None)
    assert whole == LargeObjects(count=len(SIZES), checksum=postgres.value(shop, AS_A_WHOLE))
    assert contents.large_objects(shop).checksum == whole.checksum, "none of them is longer than a piece"


@pytest.mark.parametrize("offset", [0, PIECE - 1, PIECE, 3 * PIECE + 4])
def test_each_byte_of_each_piece_counts(shop: Connection, offset: int) -> None:
    postgres.rows(shop, "SELECT lo_from_bytea(4711, %s)", (content(3 * PIECE + 5),))
    before = contents.large_objects(shop, PIECE)
    postgres.rows(shop, "SELECT lo_put(4711, %s, '!')", (offset,))
    assert contents.large_objects(shop, PIECE).checksum != before.checksum


def test_bytes_that_were_never_written_are_zeros(shop: Connection) -> None:
    """A dump has them, so a restored copy stores what its source does not."""
    postgres.rows(shop, "SELECT lo_put(lo_from_bytea(4711, ''), 25000, 'x')")
    sparse = contents.large_objects(shop, PIECE)
    assert postgres.value(shop, "SELECT count(*) FROM pg_largeobject") == 1
    postgres.rows(shop, "SELECT lo_put(4711, 0, decode(repeat('00', 25000), 'hex'))")
    assert contents.large_objects(shop, PIECE) == sparse


@pytest.mark.endurance
def test_a_database_with_one_that_no_server_reads_at_once_is_backed_up(restores: Restores) -> None:
    restores.source("shop", HUGE)
    archive = restores.archive
    with (
        archive.platform.connect("shop") as connection,
        pytest.raises(postgres.Error, match="large object read request is too large"),
    ):
        postgres.rows(connection, AS_A_WHOLE)
    dump.dump_database(archive.settings, "shop", RUN)
    dumped = records.dumped(archive.work("shop", RUN))
    assert dumped is not None
    assert dumped.contents.large_objects.count == 1


@pytest.mark.endurance
def test_one_of_several_pieces_is_compared_and_so_is_that_of_a_manifest_of_before(restores: Restores) -> None:
    """There each was hashed as a whole."""
    restores.source("shop", LONG)
    restores.back_up("shop")
    found = restores.archive.manifest("shop", RUN).contents
    with restores.archive.platform.connect("shop") as connection:
        older = LargeObjects(count=1, checksum=postgres.value(connection, AS_A_WHOLE))
    assert older.checksum != found.large_objects.checksum
    ended = restores.archive.run("restore", "shop", "--into-new", restores.name("copy"))
    assert ended.code == 0, ended.err
    restores.change_manifest("shop", contents=found.model_copy(update={"large_objects": older}))
    ended = restores.archive.run("restore", "shop", "--into-new", restores.name("another"))
    assert ended.code == 0, ended.err
