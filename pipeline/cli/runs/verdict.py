"""What is told of a load that has come to its end: which tables failed, which servers, and what is well."""

from collections.abc import Sequence, Set

from pipeline import alerts, chains, outage
from pipeline.alerts import failures
from pipeline.chains import BUILD_TASK
from pipeline.settings import Settings
from pipeline.step import Step


def tell(
    configured: Settings, run: str, names: Sequence[str], well: Sequence[str], failed: Sequence[Step]
) -> None:
    """Tell of each table, or source, of `names` that failed; most were told of by the step itself.

    What failed for want of a server is told as that server's failure.
    """
    keys = set()
    for step in failed:
        task = step.key.task
        if found := outage.find(step.error, step.exit_code):
            of = f"{found.source}." if found.source else ""
            waiting = [name for name in names if "." in name and name not in well and name.startswith(of)]
            alert = failures.out_of_reach(found, run, waiting, task, step.exit_code, step.hint)
        else:
            thing = failures.loaded(step.key.name, run)
            alert = thing.failed(task, step.error, step.exit_code, step.hint, step.detail.get("again"))
        keys.add(alert.key)
        schema, _, name = step.key.name.partition(".")
        parameters = {"source": schema, **({"table": name} if name else {}), "run": run}
        chain = chains.ETL
        if task == BUILD_TASK:
            chain, parameters = chains.MARTS, {"mart": name, "run": run}
        alerts.tell(configured, failures.linked(configured, alert, chain.family(task), parameters))
    for name in well:
        done = "built" if name.startswith(f"{chains.MART.schema}.") else "loaded"
        alerts.recovered(configured, failures.loaded(name, run).key, f"{name} is {done}, run {run}")
    _take_back(configured, run, well, keys)


def _take_back(configured: Settings, run: str, well: Sequence[str], keys: Set[str]) -> None:
    """Tell that servers are in reach again from which tables were loaded, whatever else has failed."""
    of = {name.partition(".")[0] for name in well if not name.startswith(f"{chains.MART.schema}.")}
    things = [failures.source(name, run) for name in sorted(of)]
    if well:
        things.append(failures.load(run))
    for thing in things:
        if thing.key not in keys:
            # Told by a step of a table: what else has this key is over when all of it is done.
            for task in (*chains.ETL.steps_of(chains.TABLE), BUILD_TASK):
                alerts.recovered(configured, thing.key, f"{thing.name}: in reach again", task=task, run=run)
