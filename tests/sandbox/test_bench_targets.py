"""How far measurements are from what they are to be."""

from pipeline.sandbox.benches import bench, targets
from pipeline.sandbox.benches.bench_platform import Cost
from pipeline.sandbox.benches.figures import Figures


def figures(what: str, unit: str, **measured: float) -> Figures:
    found = Figures(what, unit)
    for name, value in measured.items():
        for spread in (0.5, 1.0, 2.0):
            found.add(name.replace("_", " "), Cost(value * spread), Cost(2.0))
    return found


def test_what_is_over_its_target_is_said_to_be() -> None:
    loads = figures("load", "s", steps_alone=2.0, whole_command=4.0)
    loads.add("whole command, by HEAD", Cost(9), Cost(1))
    small = figures("tables", "s", unchanged=12.0)
    memory = Figures("memory", "MiB", costs={"scheduler, 300 tables": [(Cost(90), Cost(80))]})
    found = list(targets.rows([loads, small, memory], 300))
    assert targets.table(found).splitlines()[2:] == [
        "| load: steps alone | 1 (0.5 to 2) times the yardstick | 1.15 | yes |",
        "| load: whole command | 2 (1 to 4) times the yardstick | 1.4 | **no** |",
        "| tables: unchanged | 0.04 (0.02 to 0.08) s each | 0.06 | yes |",
        "| memory: scheduler, 300 tables | 90 MiB | 96 | yes |",
    ]
    picture = targets.picture(found)
    assert picture is not None
    assert picture.startswith("<svg")
    assert "load: whole command" in picture


def test_a_target_of_which_nothing_was_measured_is_not_said_to_be_kept() -> None:
    found = list(targets.unmeasured([figures("load", "s", steps_alone=2.0)]))
    assert len(found) == len(targets.TARGETS) - 1
    assert targets.table(found).splitlines()[2] == "| load: whole command | not measured | 1.4 | **no** |"
    assert "whole command" not in (targets.picture(found) or "")


def test_every_target_is_of_something_that_is_measured() -> None:
    assert {target.what for target in targets.TARGETS} <= bench.MEASURES.keys()
