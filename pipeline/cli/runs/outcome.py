"""Sends what came of a load: an alert for each table or server that failed, the recovery of all others."""

from collections.abc import Sequence, Set

from pipeline import alerts, chains
from pipeline.alerts import failures
from pipeline.chains import BUILD_TASK
from pipeline.settings import Settings
from pipeline.step import Step


def send(
    configured: Settings, run: str, names: Sequence[str], succeeded: Sequence[str], failed: Sequence[Step]
) -> None:
    """Send an alert of each table, or source, of `names` that failed; most were sent by the step itself.

    What failed for want of a server is one alert of that server.
    """
    keys = set()
    for step in failed:
        task, server = step.key.task, step.outage
        if server:
            of = {one.outage.source for one in failed if one.outage and one.outage.place == server.place}
            waiting = [
                name
                for name in names
                if "." in name
                and name not in succeeded
                and (server.source is None or name.partition(".")[0] in of)
            ]
            alert = failures.out_of_reach(step.error, server, run, waiting, task, step.exit_code, step.hint)
            if known := failures.known(server, run, alerts.open_alerts(configured)):
                alert = alert.model_copy(update={"key": known.key})
        else:
            subject = failures.loaded(step.key.name, run)
            alert = subject.failed(task, step.error, step.exit_code, step.hint, step.again)
        keys.add(alert.key)
        schema, _, name = step.key.name.partition(".")
        parameters = {"source": schema, **({"table": name} if name else {}), "run": run}
        chain = chains.ETL
        if task == BUILD_TASK:
            chain, parameters = chains.MARTS, {"mart": name, "run": run}
        alerts.send(configured, failures.linked(configured, alert, chain.family(task), parameters))
    for name in succeeded:
        done = "built" if name.startswith(f"{chains.MART.schema}.") else "loaded"
        alerts.send_recovery(configured, failures.loaded(name, run).key, f"{name} is {done}, run {run}")
    _take_back(configured, run, succeeded, keys)


def _take_back(configured: Settings, run: str, succeeded: Sequence[str], keys: Set[str]) -> None:
    """Tell that servers are in reach again from which tables were loaded, whatever else has failed."""
    of = {name.partition(".")[0] for name in succeeded if not name.startswith(f"{chains.MART.schema}.")}
    subjects = [failures.source(name, run) for name in sorted(of)]
    if succeeded:
        subjects.append(failures.load(run))
    for subject in subjects:
        if subject.key not in keys:
            # Told by a step of a table: what else has this key is over when all of it is done.
            for task in (*chains.ETL.steps_of(chains.TABLE), BUILD_TASK):
                alerts.send_recovery(
                    configured, subject.key, f"{subject.name}: in reach again", task=task, run=run
                )
