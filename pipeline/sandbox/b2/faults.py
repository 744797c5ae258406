"""Faults on demand: which of the next calls go wrong, and how."""

import threading
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

KEPT_CALLS = 20_000


class FaultKind(StrEnum):
    """What goes wrong."""

    ERROR = "error"
    """It answers `status`, `code` and, if given, Retry-After."""
    RESET = "reset"
    """The connection is cut after `after_bytes` of the body."""
    SLOW = "slow"
    """The body goes at `bytes_per_second`."""
    FULL = "full"
    """The server has no room left: storage_cap_exceeded."""
    CLOCK = "clock"
    """The Date header is `seconds` off."""
    UNANSWERED = "unanswered"
    """It is done, and not answered."""
    PAGE = "page"
    """200 and a page of HTML, as from a proxy in between."""


@dataclass
class Fault:
    """What goes wrong with `times` calls of one kind, after the next `skip` of them went well.

    `call` is a name as in the API (`b2_upload_part`, `b2_download_file`, ...) or `*`.
    """

    call: str
    kind: FaultKind
    times: int = 1
    skip: int = 0
    status: int = 503
    code: str = "service_unavailable"
    retry_after: str | None = None
    after_bytes: int = 0
    bytes_per_second: int = 0
    seconds: int = 0


@dataclass
class Call:
    """A call that came: its name, the HTTP status (0: none yet, or cut), the file, part and bytes."""

    call: str
    status: int = 0
    file_id: str | None = None
    part: int | None = None
    size_bytes: int = 0


@dataclass
class Faults:
    """The faults that are still to come, and a record of the calls that came."""

    waiting: list[Fault] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, fault: dict[str, Any]) -> None:
        """Add a fault, given as its fields."""
        with self.lock:
            self.waiting.append(Fault(**{**fault, "kind": FaultKind(fault["kind"])}))

    def clear(self) -> None:
        """Remove every fault and forget the calls."""
        with self.lock:
            self.waiting.clear()
            self.calls.clear()

    def take(self, call: str) -> Fault | None:
        """Return what goes wrong with this call, if anything."""
        with self.lock:
            for fault in self.waiting:
                if fault.call not in {call, "*"}:
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                if fault.times <= 0:
                    self.waiting.remove(fault)
                return fault
        return None

    def record(self, call: Call) -> None:
        """Remember a call that has come; what is answered is written into it later."""
        with self.lock:
            self.calls.append(call)
            del self.calls[:-KEPT_CALLS]

    def recorded(self) -> list[dict[str, Any]]:
        """Return the calls so far, the oldest first."""
        with self.lock:
            return [asdict(call) for call in self.calls]
