"""An earlier build beside this one: what is measured as its is its own code, compiled before."""

import importlib.util
from pathlib import Path

import pytest

from pipeline.errors import StepError
from pipeline.sandbox.benches import bench_platform
from pipeline.sandbox.home import PROJECT

git = pytest.mark.skipif(not (PROJECT / ".git").exists(), reason="this is not a checkout")


@pytest.mark.endurance
@git
def test_an_earlier_build_is_compiled_before_it_is_measured() -> None:
    with bench_platform.built("HEAD") as builds:
        _, (label, folder) = builds
        assert label == ", by HEAD"
        assert folder is not None
        for name in ("pipeline/__init__.py", "pipeline/cli/__init__.py", "tasks/__init__.py"):
            assert Path(importlib.util.cache_from_source(str(folder / name))).is_file(), name


def test_a_build_whose_code_would_not_be_what_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StepError, match=f"{PROJECT}/pipeline/__init__.py would run instead of that of REV"):
        bench_platform.require_own_code("REV", tmp_path)
