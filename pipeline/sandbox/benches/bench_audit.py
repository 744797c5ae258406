"""What an audit costs beside the night that it follows: for `bin/bench`.

A source of one large table and many smaller ones is loaded, and as many marts are built as the sandbox's
example has; then come nights. A hundredth of its rows is
changed, a thousandth deleted, what changed is loaded, and what has its turn is audited. By default it is as
large as a small school becomes: the sandbox's example has twenty tables and 220,000 rows, and this is ten
years of it.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.ledger import audits
from pipeline.sandbox.benches import bench_platform
from pipeline.sandbox.benches.bench_platform import Cost, Platform
from pipeline.sandbox.benches.figures import Figures
from pipeline.sandbox.home import Home

ROWS, SMALL = 2_200_000, 19
# A week, if nobody asks for more or fewer.
NIGHTS = 7
TABLE = """
    CREATE TABLE {name} (
        id bigint PRIMARY KEY, account integer NOT NULL, amount numeric(12, 2) NOT NULL, note text NOT NULL
    );
    INSERT INTO {name}
    SELECT n, n % 9973, n % 100003 / 100.0, md5(n::text) FROM generate_series(1, {rows}) AS n;
"""
# As in the example, half of them tables and half of them views.
MART = "select account, sum(amount) as amount, count(*) as payments from bench.small{:02} group by account"
MARTS = {
    f"by_account{number:02}": "\n".join(["-- materialize: table"] * (number % 2) + [MART.format(number)])
    for number in range(8)
}
# By the night, so that no two nights change the same rows.
DAY = """
    UPDATE {name} SET amount = amount + 1 WHERE id % 100 = {night};
    DELETE FROM {name} WHERE id % 1000 = {night} + 500;
"""


@dataclass(frozen=True)
class Night:
    """A night's load and its audit; `looked_seconds` of that were spent on looking at tables."""

    load: Cost
    audit: Cost
    looked_seconds: float

    @property
    def on_the_clock(self) -> float:
        return self.audit.seconds / self.load.seconds

    @property
    def of_processors(self) -> float:
        return self.audit.processor_seconds / self.load.processor_seconds

    def __str__(self) -> str:
        return (
            f"load {self.load.seconds:.1f} s, audit {self.audit.seconds:.2f} s, {self.on_the_clock:.1%};"
            f" of processors {self.load.processor_seconds:.1f} s, {self.audit.processor_seconds:.2f} s,"
            f" {self.of_processors:.1%}; {self.audit.output.splitlines()[-1]}"
        )


def bench(home: Home, rows: int, nights: int, print_line: Callable[[str], None]) -> Figures:
    """Measure nights one after the other, and say what each took, its audit and the ratio of both."""
    figures = Figures("audit")
    tables = {"large": rows // 2, **{f"small{number:02}": rows // 2 // SMALL for number in range(SMALL)}}
    make = "".join(TABLE.format(name=name, rows=count) for name, count in tables.items())
    with bench_platform.platform(home, list(tables), make, MARTS) as platform:
        platform.run(0)
        seen = []
        for number in range(1, nights + 1):
            seen.append(_night(platform, tables, number))
            figures.add("beside its night", seen[-1].audit, seen[-1].load)
            print_line(f"night {number}: {seen[-1]}")
        for what, ratios in (
            ("of its night", [night.on_the_clock for night in seen]),
            ("of the processors' time of its night", [night.of_processors for night in seen]),
        ):
            median = statistics.median(ratios)
            print_line(f"an audit takes {median:.1%} {what} (median; {min(ratios):.1%} to {max(ratios):.1%})")
        begun = statistics.median(night.audit.seconds - night.looked_seconds for night in seen)
        totals = platform.ask(audits.totals)
        million = totals.seconds / totals.rows * 1e6
        print_line(f"of that {begun:.2f} s to begin and end, and {million:.2f} s a million rows")
        print_line(f"{totals.tables} of {len(tables)} tables had their turn within {nights} nights")
    return figures


def _night(platform: Platform, tables: dict[str, int], number: int) -> Night:
    for name in tables:
        platform.source(DAY.format(name=name, night=number))
    load = platform.run(number)
    before = platform.ask(audits.totals).seconds
    audit = platform.pipeline("audit")
    after = platform.ask(audits.totals).seconds
    return Night(load, audit, after - before)
