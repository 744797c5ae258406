"""Handing out: what it costs does not grow with what has nothing to do with it."""

import luigi.scheduler
import pytest

from tasks.scheduler import assist


def test_all_tasks_are_not_gone_through_each_time_work_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was most of the scheduler's time in a night of many tables, and every worker waits for that."""
    gone_through: list[None] = []
    prune = luigi.scheduler.Scheduler.prune

    def counted(scheduler: luigi.scheduler.Scheduler) -> None:
        gone_through.append(None)
        prune(scheduler)

    monkeypatch.setattr(luigi.scheduler.Scheduler, "prune", counted)
    scheduler = assist.Scheduler(prune_on_get_work=True, retry_delay=0, retry_count=9)
    for number in range(5):
        scheduler.add_task(worker="run", task_id=f"task{number}", family="Task")
    given = [scheduler.get_work(worker="run", host="here")["task_id"] for _ in range(5)]
    assert sorted(given) == [f"task{number}" for number in range(5)]
    first = len(gone_through)
    # What failed is tried again once it is due, and a moment later at the most.
    scheduler.add_task(worker="run", task_id=given[0], family="Task", status="FAILED")
    assert scheduler.get_work(worker="run", host="here")["task_id"] is None
    assert len(gone_through) == first > 0
    monkeypatch.setattr(assist, "PRUNING_SECONDS", 0.0)
    assert scheduler.get_work(worker="run", host="here")["task_id"] == given[0]
    # Whoever else wants it done has it done.
    monkeypatch.setattr(assist, "PRUNING_SECONDS", 1000.0)
    before = len(gone_through)
    scheduler.prune()
    assert len(gone_through) > before
