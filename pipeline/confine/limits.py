"""What a confined program may use, and what it sees: as data, for those outside and inside alike."""

from collections.abc import Sequence
from dataclasses import dataclass, field

MIB = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """What a program and all that it starts may use; beyond it they are ended."""

    seconds: float
    # Of all its processes at once.
    memory_bytes: int
    # All that it may write, which lies in memory.
    disk_bytes: int = 256 * MIB
    files: int = 10_000
    processes: int = 64
    open_files: int = 256
    # What it says beyond this is let go.
    output_bytes: int = 4 * MIB


@dataclass(frozen=True)
class Plan:
    """What the program inside is told, as JSON. No credential is in it: who looks at processes sees it.

    `root` is an empty folder that the namespace hides everything behind; `read` are paths that are there for
    reading, `copied` the folders whose files are there as copies, by where they are there. `user` are the ids
    of the user and the group that the program gets; None keeps those that we have. `control` is the
    descriptor of a socket by which we get the one that its connections come by; None if it has no network.
    `refused` is that of a pipe by which we learn why it could not be confined; without a word, it was.
    """

    command: Sequence[str]
    root: str
    read: Sequence[str]
    copied: dict[str, str]
    folder: str
    limits: Limits
    refused: int
    user: tuple[int, int] | None = None
    control: int | None = None
    environment: dict[str, str] = field(default_factory=dict)
