"""Partitions by hash of an enum: one table to whoever compares a restored database with what it was.

The hash of such a value is that of its OID, and a restore gives the enum other OIDs. So pg_dump has the rows
loaded through the partitioned table, and they come to lie in whichever partition is theirs then.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from pipeline.backup.database.contents import TableShape
from pipeline.backup.store.manifest import Table

# By their full names, of each partition the table that is partitioned so.
Roots = Mapping[str, str]


def roots(shapes: Sequence[TableShape]) -> Roots:
    """Return which of these tables are such partitions, and of what."""
    return {one.full_name: one.enum_root for one in shapes if one.enum_root}


def together(name: str, of: Roots) -> frozenset[str]:
    """Return a table, by its full name, and the partitions in which its rows may lie after a restore."""
    root = of.get(name)
    return frozenset(one for one, other in of.items() if other == root) | {name}


def summed(tables: Sequence[Table], of: Roots) -> list[Table]:
    """Return the tables with the rows of all such partitions in one more, called as what they are of.

    The partitions themselves keep their owners and columns. Rows and checksums are sums, and so add up.
    """
    parts: dict[str, list[Table]] = defaultdict(list)
    apart = []
    for one in tables:
        root = of.get(one.full_name)
        if root is None:
            apart.append(one)
        else:
            parts[root].append(one)
            apart.append(one.model_copy(update={"rows": 0, "checksum": "0"}))
    return [*apart, *(_sum(root, of_root) for root, of_root in parts.items())]


def _sum(root: str, parts: Sequence[Table]) -> Table:
    schema, _, name = root.partition(".")
    return Table(
        schema_name=schema,
        name=name,
        owner="",
        columns=(),
        rows=sum(one.rows for one in parts),
        checksum=str(sum(int(one.checksum) for one in parts)),
    )
