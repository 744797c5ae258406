"""Who keeps the horizon of a source back for long: each load then reads again all that was written since.

Only a transaction that has written does: a prepared one, or a session that is idle in its transaction. What a
replication slot or a standby's feedback keeps costs the source room, and a load nothing.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline import ledger, postgres
from pipeline.chains import OPEN_TASK
from pipeline.loading.plan import HALF_CIRCLE
from pipeline.postgres import Connection
from pipeline.postgres.snapshot import Snapshot

LONG = timedelta(days=1)
# Transaction ids go round in it.
CIRCLE = 2**32


@dataclass(frozen=True)
class _Writer:
    """A transaction that has written and not ended: what and whose it is, and its number of 32 bits.

    `since` is None where the source does not tell our login.
    """

    what: str
    owner: str
    since: datetime | None
    number: int


def held_back(warehouse: Connection, source: Connection, name: str, taken: Snapshot) -> list[str]:
    """Return who has kept the horizon of a moment back for longer than a day, each with its owner and age.

    Where the source does not say since when, it goes by the last moment before that day: who was at work then
    is older. `source` is the session that took the moment.
    """
    before, before_at = _moment_before(warehouse, name, taken)
    holders = []
    for one in postgres.read(source, postgres.statement("loading/horizon"), _Writer):
        # Those that have begun since, or that are the newest, are beyond it.
        ahead = (one.number - taken.next_transaction + HALF_CIRCLE) % CIRCLE - HALF_CIRCLE
        first = taken.next_transaction + ahead
        if one.since is not None and taken.taken_at - one.since > LONG:
            holders.append(f'{one.what} of "{one.owner}", since {one.since:%Y-%m-%d %H:%M} UTC')
        elif one.since is None and first < before:
            holders.append(f'{one.what} of "{one.owner}", since before {before_at:%Y-%m-%d %H:%M} UTC')
    if not holders and taken.horizon < before:
        holders.append(
            f"transaction {taken.horizon % CIRCLE}, whose session is not shown here (on the primary?), since "
            f"before {before_at:%Y-%m-%d %H:%M} UTC"
        )
    return holders


def _moment_before(warehouse: Connection, name: str, taken: Snapshot) -> tuple[int, datetime]:
    """Return the next transaction of the same source's last moment that is a day old, and when that was."""
    before = ledger.last_record(warehouse, OPEN_TASK, name, Snapshot, older_than=LONG)
    if before is None or before.whose != taken.whose:
        return 0, taken.taken_at
    return before.next_transaction, before.taken_at
