"""The closing table: steps down, faults across, and how many of all faults were survived."""

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

FAILED, NOT_TRIED, DOES_NOT_APPLY = "FAILED", ".", "-"


@dataclass(frozen=True)
class Outcome:
    """What became of one fault at one place in a step, and what went wrong."""

    step: str
    fault: str
    place: str
    wrong: str = ""


def lines(outcomes: Sequence[Outcome], applies: Mapping[str, Collection[str]]) -> list[str]:
    """Return the table and its sum; `applies` has all steps, each with the faults that can reach it.

    A cell has the number of places at which the fault was survived.
    """
    steps = [step for step in applies if any(one.step == step for one in outcomes)]
    tried = {one.fault for one in outcomes}
    # Not in the order in which they ended: several are tried at once.
    faults = [fault for fault in dict.fromkeys(itertools.chain(*applies.values())) if fault in tried]
    width = max(map(len, faults))
    rows = [" " * width + "".join(f" {step:>{len(FAILED)}}" for step in steps)]
    for fault in faults:
        cells = [_cell(outcomes, step, fault, fault in applies[step]) for step in steps]
        rows.append(
            f"{fault:<{width}}"
            + "".join(
                f" {cell:>{max(len(step), len(FAILED))}}" for step, cell in zip(steps, cells, strict=True)
            )
        )
    wrong = [f"{one.step}, {one.fault}, {one.place}: {one.wrong}" for one in outcomes if one.wrong]
    survived = len(outcomes) - len(wrong)
    return [*rows, *wrong, f"{len(outcomes)} faults tried, {survived} survived; - does not apply"]


def _cell(outcomes: Sequence[Outcome], step: str, fault: str, applies: bool) -> str:
    found = [one for one in outcomes if (one.step, one.fault) == (step, fault)]
    if not found:
        return NOT_TRIED if applies else DOES_NOT_APPLY
    return FAILED if any(one.wrong for one in found) else str(len(found))
