"""What kind of OpenPGP key a file holds, by its packets' own headers: for keys that gpg cannot read."""

import base64
import binascii
import re
from collections.abc import Iterator

PUBLIC_KEY = 6
ARMORED = re.compile(
    rb"-----BEGIN PGP PUBLIC KEY BLOCK-----\s*?\n(?:[^\n:]+:[^\n]*\n)*\s*(.*?)\n(?:=[\w+/]{4}\s*)?"
    rb"-----END PGP",
    re.DOTALL,
)
# The first bit is set in every packet; the second says in which of two ways the header goes on.
PACKET, NEW_FORMAT = 0x80, 0x40
# RFC 9580, 4.2.1: lengths of one octet, and of two; and the old format's "to the end".
ONE_OCTET, TWO_OCTETS, TO_THE_END = 192, 224, 3


def key_versions(data: bytes) -> list[int]:
    """Return the version of each public key in a file, armored or not: 4, 5 or 6; none if there is none.

    >>> key_versions(bytes([0xC6, 6, 6, 0, 0, 0, 0, 27]))
    [6]
    >>> key_versions(b"no key")
    []
    """
    match = ARMORED.search(data)
    try:
        packets = base64.b64decode(b"".join(match[1].split())) if match else data
        return [body[0] for tag, body in _packets(packets) if tag == PUBLIC_KEY and body]
    except (binascii.Error, IndexError):
        return []


def _packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and body of each packet. Raise IndexError where the data ends within a header."""
    at = 0
    while at < len(data) and data[at] & PACKET:
        head = data[at]
        if head & NEW_FORMAT:
            tag, (size, at) = head & 0x3F, _new_length(data, at + 1)
        else:
            tag, (size, at) = (head & 0x3C) >> 2, _old_length(data, at + 1, head & 3)
        yield tag, data[at : at + size]
        at += size


def _new_length(data: bytes, at: int) -> tuple[int, int]:
    first = data[at]
    if first < ONE_OCTET:
        return first, at + 1
    if first < TWO_OCTETS:
        return ((first - ONE_OCTET) << 8) + data[at + 1] + ONE_OCTET, at + 2
    # 255 comes before four bytes; lengths in parts are for data alone, never for keys.
    return int.from_bytes(data[at + 1 : at + 5], "big"), at + 5


def _old_length(data: bytes, at: int, kind: int) -> tuple[int, int]:
    if kind == TO_THE_END:
        return len(data) - at, at
    octets = 1 << kind
    return int.from_bytes(data[at : at + octets], "big"), at + octets
