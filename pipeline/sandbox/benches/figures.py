"""What was measured: each time beside its yardstick, for people and for programs."""

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.sandbox.benches.bench_platform import Cost


@dataclass
class Figures:
    """What was measured: by its name, the cost of each time, and that of the yardstick beside it."""

    what: str
    # What the numbers count.
    unit: str = "s"
    # What there is to say beside the numbers.
    notes: list[str] = field(default_factory=list)
    costs: dict[str, list[tuple[Cost, Cost]]] = field(default_factory=dict)

    def add(self, name: str, cost: Cost, yardstick: Cost) -> None:
        """Take note of one measurement, and tell it: whoever is interrupted has what was measured by then."""
        self.costs.setdefault(name, []).append((cost, yardstick))
        shown = f"{cost}" if cost.processors else f"{cost.seconds:.2f} {self.unit}"
        sys.stderr.write(f"bench: {self.what}, {name}: {shown}; beside {yardstick.seconds:.2f} {self.unit}\n")

    def lines(self, parts: int = 1) -> list[str]:
        """Return what people read; with `parts`, also what each part of it takes."""
        lines = []
        for name, values in self.costs.items():
            middle, processors = self.middle(name), _median(values, "processor_seconds")
            line = (
                f"{self.what}, {name}: {middle:.2f} {self.unit} ({_spread(values)}), {self.ratio(name):.2f} "
                "times the yardstick"
            )
            if processors:
                line += f"; processors {processors:.2f} s"
            if parts > 1:
                line += f"; each of {parts}: {middle / parts:.3f} s, processors {processors / parts:.3f} s"
            lines.append(line)
        return [*lines, *self.notes]

    def middle(self, name: str) -> float:
        """Return the median of what was measured, in `unit`."""
        return _median(self.costs[name], "seconds")

    def ratio(self, name: str) -> float:
        """Return the median of how many times its yardstick each was."""
        return statistics.median(self.ratios(name))

    def ratios(self, name: str) -> list[float]:
        """Return how many times its yardstick each was."""
        return [cost.seconds / beside.seconds for cost, beside in self.costs[name]]

    def data(self) -> dict[str, Any]:
        """Return it for programs; what is called seconds is in `unit`."""
        return {
            "what": self.what,
            "unit": self.unit,
            "notes": self.notes,
            "figures": {
                name: {
                    "seconds": [round(cost.seconds, 3) for cost, _ in values],
                    "processor_seconds": [round(cost.processor_seconds, 3) for cost, _ in values],
                    "processors": [dict(cost.processors) for cost, _ in values],
                    "yardstick_seconds": [round(beside.seconds, 3) for _, beside in values],
                    "ratio": round(self.ratio(name), 3),
                }
                for name, values in self.costs.items()
            },
        }


def _median(values: Sequence[tuple[Cost, Cost]], of: str) -> float:
    measured: list[float] = [getattr(cost, of) for cost, _ in values]
    return statistics.median(measured)


def _spread(values: Sequence[tuple[Cost, Cost]]) -> str:
    seconds = [cost.seconds for cost, _ in values]
    return f"{min(seconds):.2f} to {max(seconds):.2f}"
