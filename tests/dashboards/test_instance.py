"""The instance: empty, starting, killed in the middle, of another version, and with another password."""

import dataclasses
from collections.abc import Callable

import pytest

from pipeline.errors import LostError, StepError, UnreachableError
from pipeline.ledger.surface import Memory
from pipeline.metabase import Client
from pipeline.observe import preflight
from pipeline.observe.preflight import Finding
from pipeline.retry import RetryPolicy
from pipeline.sandbox import roles
from pipeline.sandbox.servers import clusters
from tests.dashboards.surfaces import ENROLMENT, Surface
from tests.support.marks import in_depth
from tests.support.metabase import Metabase, running
from tests.support.night import Night


def counts(metabase: Metabase) -> dict[str, int]:
    objects = metabase.routes.content.things
    return {kind: len(found) for kind, found in objects.items()}


def test_a_start_is_waited_for_whatever_it_answers_meanwhile(surface: Surface) -> None:
    """Its health as JSON, everything else as plain text, both with 503."""
    surface.metabase.starting = 2
    assert surface.apply().problems == []
    assert surface.metabase.requests[:3] == [("GET /api/health", status) for status in (503, 503, 200)]


def test_check_looks_at_it_and_at_who_reads_for_it_and_sets_nothing_up(surface: Surface) -> None:
    """A night goes on without it, so these are warnings; and nobody waits for one that starts."""

    def found() -> dict[str, Finding]:
        looked = preflight.everything(surface.settings, "http://127.0.0.1:1")
        return {one.subject: one for one in looked if one.subject in ("Metabase", "dashboards", "report")}

    assert "run 'pipeline dashboards apply'" in found()["Metabase"].warnings[0]
    assert surface.metabase.writes == []
    surface.apply()
    assert found() == {"dashboards": Finding("dashboards"), "Metabase": Finding("Metabase")}
    night = surface.night
    database = night.platform.database("warehouse")
    night.ask("warehouse", f"GRANT CONNECT ON DATABASE {database} TO {database}_reports")
    night.ask("warehouse", f"REVOKE {database}_dashboards FROM {database}_reports")
    assert "may not read dashboards; GRANT" in found()["dashboards"].warnings[0]
    night.platform.sandbox.vault.remove(f"{surface.entry}/api_key")
    assert f"there is none in Vault at {surface.entry}/api_key;" in found()["Metabase"].warnings[0]
    surface.metabase.starting = 1
    assert "is not up (503: initializing)" in found()["Metabase"].warnings[0]
    surface.metabase.down()
    (told,) = found()["Metabase"].warnings
    assert "cannot be reached" in told
    assert found()["Metabase"].problems == ()


def test_one_that_does_not_come_up_is_out_of_reach(metabase: Metabase) -> None:
    metabase.starting = 1_000_000
    retries = RetryPolicy(0.2, first_wait_seconds=0.05, longest_wait_seconds=0.05)
    client = Client(metabase.url, starting=retries)
    with pytest.raises(LostError, match=r"is not up \(503: initializing\), after 0 s; see its own log"):
        client.wait_until_up()
    client.close()
    metabase.down()
    with pytest.raises(LostError, match="cannot be reached"):
        Client(metabase.url, starting=retries).wait_until_up()


def test_an_instance_that_was_lost_and_is_empty_again_is_set_up_anew(surface: Surface) -> None:
    """Its numbers begin anew: what has ours by chance is not taken for ours."""
    surface.apply()
    highest = max(kept.number for kept in surface.kept().values() if kept.number is not None)
    surface.metabase.wipe()
    for number in range(highest):
        made = surface.metabase.routes.content.add(
            "card", {"name": f"theirs {number}", "collection_id": None}
        )
        made["query"] = {"database": 0, "sql": "SELECT 1", "tags": {}}
    surface.apply()
    assert set(surface.metabase.named("dashboard")) == {"Enrolment", "Staff"}
    theirs = [name for name in surface.metabase.named("card") if name.startswith("theirs")]
    assert len(theirs) == highest
    before = len(surface.metabase.writes)
    surface.apply()
    assert surface.metabase.writes[before:] == []


@in_depth(
    "request_lost",
    [
        "POST /api/setup",
        "POST /api/api-key",
        "POST /api/database",
        "POST /api/collection",
        "POST /api/card",
        "POST /api/dashboard",
    ],
    quick=2,
)
def test_an_answer_that_was_lost_makes_nothing_twice(surface: Surface, request_lost: str) -> None:
    surface.metabase.cut.append(request_lost)
    with pytest.raises(LostError):
        surface.apply()
    surface.apply()
    assert counts(surface.metabase) == {"collection": 3, "card": 4, "dashboard": 2}
    routes = surface.metabase.routes
    assert (len(routes.keys), len(routes.databases)) == (1, 1)
    before = len(surface.metabase.writes)
    surface.apply()
    assert surface.metabase.writes[before:] == []


@pytest.mark.endurance
def test_one_that_restarts_in_the_middle_is_gone_on_with(
    surface: Surface, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after any of its writes, what is done stays done and the next apply does the rest."""
    saved, left = Memory.save, [6]

    def save(memory: Memory, *given: object) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        saved(memory, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Memory, "save", save)
    for after in range(2, 40):
        left[0] = after
        try:
            surface.apply()
            break
        except KeyboardInterrupt:
            continue
    assert counts(surface.metabase) == {"collection": 3, "card": 4, "dashboard": 2}
    assert len(surface.metabase.routes.databases) == 1


@in_depth("kind", ["POST /api/card", "PUT /api/card"], quick=1)
def test_metabase_that_is_started_anew_in_the_middle_is_gone_on_with(surface: Surface, kind: str) -> None:
    """What can be asked twice is, once it is up; what would be made twice is made by the next apply."""
    metabase = surface.metabase

    def restart(request: str) -> None:
        if request.startswith(kind):
            metabase.before = lambda _request: None
            metabase.starting = 2

    metabase.before = restart
    if kind.startswith("POST"):
        with pytest.raises(LostError, match=r"is not ready \(503\) .*still initializing"):
            surface.apply()
    else:
        assert surface.apply().problems == []
    assert next(status for request, status in metabase.requests if request.startswith(kind)) == 503
    surface.apply()
    assert counts(metabase) == {"collection": 3, "card": 4, "dashboard": 2}
    assert metabase.rows("Heads") == [["Library", 4], ["Services", 9]]
    before = len(metabase.writes)
    surface.apply()
    assert metabase.writes[before:] == []


def rotate(surface: Surface) -> None:
    """Give the login of dashboards another password, in the server and in Vault."""
    platform = surface.night.platform
    database = platform.database("warehouse")
    vault = platform.sandbox.vault
    entry = vault.read(f"{database}/dashboards")
    assert entry is not None
    with clusters.connection(platform.sandbox.home, "warehouse", "postgres") as connection:
        roles.set_password(connection, f"{database}_reports", "another password 2")
    before, _, after = entry["uri"].partition("@")
    login = before.rpartition(":")[0]
    vault.write(f"{database}/dashboards", {"uri": f"{login}:another%20password%202@{after}"})


def test_a_credential_that_was_rotated_reaches_metabase(surface: Surface) -> None:
    surface.apply()
    rotate(surface)
    assert surface.plan().others == ["the connection to the warehouse: password"]
    before = len(surface.metabase.writes)
    surface.apply()
    (number,) = surface.metabase.routes.databases
    assert surface.metabase.writes[before:] == [f"PUT /api/database/{number}"]
    assert surface.metabase.rows("Heads") == [["Library", 4], ["Services", 9]]


def test_what_metabase_forgets_of_a_write_is_found(surface: Surface) -> None:
    """A key that it does not know is dropped, with a 200."""
    surface.metabase.forgets.add(("PUT /api/dashboard/:id", "width"))
    with pytest.raises(StepError, match='accepted dashboard "Enrolment", but not its width'):
        surface.apply()


def test_permissions_that_somebody_changes_at_the_same_time_stay(surface: Surface) -> None:
    done: list[str] = []

    def meddle(request: str) -> None:
        if request == "PUT /api/permissions/graph" and not done:
            done.append(request)
            graph = surface.metabase.routes.graphs["permissions"]
            graph["groups"]["7"] = {"99": {"create-queries": "query-builder"}}
            graph["revision"] += 1

    surface.metabase.before = meddle
    surface.apply()
    assert ("PUT /api/permissions/graph", 409) in surface.metabase.requests
    groups = surface.metabase.routes.graphs["permissions"]["groups"]
    assert groups["7"] == {"99": {"create-queries": "query-builder"}}
    assert {may["create-queries"] for may in groups["1"].values()} == {"no"}


@in_depth("version", ["v0.56.9", "v0.57.1", "v0.63.0", "v1.64.0"], quick=2)
def test_each_version_is_understood(night: Night, make: Callable[..., Surface], version: str) -> None:
    with running(version) as metabase:
        surface = make(night, metabase)
        surface.apply()
        before = len(metabase.writes)
        assert surface.apply().shown == []
        assert metabase.writes[before:] == []


def test_a_version_that_is_too_old_is_refused(surface: Surface) -> None:
    surface.metabase.routes.version = "v0.55.2"
    with pytest.raises(StepError, match=r"is v0\.55\.2; the pipeline needs v0\.56 or later"):
        surface.apply()


def test_no_credential_is_in_what_is_remembered_or_said(surface: Surface) -> None:
    surface.apply()
    key = surface.metabase.routes.keys[0]["unmasked_key"]
    (database,) = surface.metabase.routes.databases.values()
    held = f"{surface.kept()} {surface.said}"
    for credential in (key, database["details"]["password"], "a long passphrase 7"):
        assert credential not in held


def test_a_key_that_is_not_accepted_any_more_is_replaced(surface: Surface) -> None:
    surface.apply()
    surface.metabase.routes.keys.clear()
    surface.apply(dataclasses.replace(ENROLMENT, title="Who studies"))
    assert "Who studies" in surface.metabase.named("dashboard")


def test_an_administrator_that_is_not_in_vault_is_told_with_what_to_write(surface: Surface) -> None:
    vault = surface.night.platform.sandbox.vault
    vault.write(surface.entry, {"email": "platform@school.example"})
    with pytest.raises(UnreachableError, match="has no password; write email and password there"):
        surface.apply()
    vault.remove(surface.entry)
    with pytest.raises(UnreachableError, match=r"nothing is stored at .*; write email and password there"):
        surface.apply()


def test_a_wrong_password_is_told_without_it(surface: Surface) -> None:
    surface.metabase.routes.setup_token = None
    surface.metabase.routes.user_found = {"id": 1, "email": "other@school.example", "is_superuser": True}
    with pytest.raises(UnreachableError, match="refused our login") as told:
        surface.apply()
    assert "passphrase" not in str(told.value)


def test_tracking_is_off_also_if_the_first_set_up_was_killed_before_that(surface: Surface) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.dashboards.instance._require", killed)
        with pytest.raises(KeyboardInterrupt):
            surface.apply()
    assert surface.metabase.routes.settings["anon-tracking-enabled"] is True
    assert surface.apply().problems == []
    assert surface.metabase.routes.settings["anon-tracking-enabled"] is False


def test_a_setting_that_its_environment_keeps_is_not_taken_for_written(surface: Surface) -> None:
    """Asked for alone, a setting at its default answers with nothing, which is not "off"."""
    surface.metabase.routes.fixed["anon-tracking-enabled"] = True
    with pytest.raises(UnreachableError, match="keeps its setting anon-tracking-enabled at True, not False"):
        surface.apply()


def test_the_name_that_a_school_gave_its_metabase_stays(surface: Surface) -> None:
    surface.apply()
    routes = surface.metabase.routes
    assert routes.settings["site-name"] == "School"
    routes.settings["site-name"] = "Law school"
    surface.night.platform.sandbox.vault.remove(f"{surface.entry}/api_key")
    surface.apply()
    assert routes.settings["site-name"] == "Law school"
