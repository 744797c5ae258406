"""Which events of Luigi's are told, and which are no news."""

from types import SimpleNamespace

import luigi
import pytest

from pipeline.errors import CheckError, Outage, UnreachableError
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


def test_what_was_told_of_each_thing_that_failed_is_not_told_of_the_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[object] = []
    monkeypatch.setattr(events, "_send_alert", lambda _task, error, **_more: sent.append(error))
    error = CheckError("a mart that it reads is not built")
    events.failed(Ended(), error)
    error.alerted = True
    events.failed(Ended(), error)
    assert sent == [error]


def test_a_source_that_vault_lacks_hides_no_other_on_a_dead_server(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = {"hr": ("db", "5432"), "near": ("db", "5432"), "far": ("other", "5432")}

    def source_address(name: str) -> tuple[str, str]:
        if name not in addresses:
            raise UnreachableError("there is nothing at its entry")
        return addresses[name]

    databases = SimpleNamespace(source_address=source_address)
    monkeypatch.setattr(events, "configured", lambda: None)
    monkeypatch.setattr("pipeline.access.brief", lambda _settings: databases)
    monkeypatch.setattr(events, "declared", lambda: SimpleNamespace(sources=["absent", *addresses]))
    assert events._sources_at(Outage.of_source("hr")) == {"hr"}
    assert events._sources_at(Outage("source hr", "db:5432")) == {"hr", "near"}
