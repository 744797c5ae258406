"""Which events of Luigi's are told, and which are no news."""

import luigi
import pytest

from tasks import events


class Ended(luigi.Task):
    """A step whose process was killed."""

    answer: object = False

    def complete(self) -> bool:
        if isinstance(self.answer, Exception):
            raise self.answer
        return bool(self.answer)


@pytest.mark.parametrize(
    ("answer", "told"), [(True, 0), (False, 1), (OSError("the bucket does not answer"), 1)]
)
def test_that_a_process_was_killed_is_told_unless_its_step_was_done_by_then(
    monkeypatch: pytest.MonkeyPatch, answer: object, told: int
) -> None:
    """A drill that had published its report has failed at nothing."""
    sent: list[object] = []
    monkeypatch.setattr(events, "configured", lambda: None)
    monkeypatch.setattr("pipeline.alerts.open_alerts", lambda _settings: [])
    monkeypatch.setattr(events, "_send_alert", lambda *arguments, **_more: sent.append(arguments))
    task = Ended()
    task.answer = answer
    events.ended(task, "its process was killed")
    assert len(sent) == told
