"""Dashboards that are declared in other words each day, and a Metabase of its own that is to show them."""

import contextlib
from collections.abc import Sequence

from tests.dashboards.surfaces import EMAIL, PASSWORD
from tests.faults.loads import Loads
from tests.support.hooks import Hook
from tests.support.metabase import Metabase, running
from tests.support.night import Night
from tests.support.platforms import Platform

CARDS = """\
title: Payments
cards:
  - {{title: Paid {n}, chart: number, mart: paid, measures: sum(paid)}}
  - {{title: Always, description: As of {n}., chart: bar, mart: paid, dimensions: student_id,
     measures: sum(payments)}}
"""
# One that is made anew each day, and the one of the day before is taken away.
OF_TODAY = """\
title: Of {n}
cards:
  - {{title: Paid by {n}, chart: number, mart: paid, measures: sum(paid)}}
"""


class Boards(Loads):
    """What `pipeline dashboards apply` does."""

    tells = False

    def __init__(self, night: Night, hook: Hook, metabase: Metabase) -> None:
        super().__init__(night, hook)
        self.metabase, self.number = metabase, 0
        entry = f"metabase/{self.platform.prefix}"
        self.platform.sandbox.vault.write(entry, {"email": EMAIL, "password": PASSWORD})
        self.platform.more["metabase"] = {"url": metabase.url, "secret": entry}
        self.platform.write_settings()
        (self.platform.analysts / "dashboards").mkdir()

    def begin(self) -> Sequence[str]:
        """Declare a dashboard and a card anew, and a card in other words; return the command."""
        self.number = next(self._serials)
        folder = self.platform.analysts / "dashboards"
        for file in folder.glob("of*.yaml"):
            file.unlink()
        (folder / "payments.yaml").write_text(CARDS.format(n=self.number))
        (folder / f"of{self.number}.yaml").write_text(OF_TODAY.format(n=self.number))
        return ["dashboards", "apply"]

    def differences(self) -> list[str]:
        """Return what Metabase shows otherwise than it is declared, or twice."""
        found = super().differences()
        things = self.metabase.routes.content.things
        cards = [f"Paid {self.number}", "Always", f"Paid by {self.number}"]
        for kind, wanted in (("card", cards), ("dashboard", ["Payments", f"Of {self.number}"])):
            there = [one["name"] for one in things[kind].values() if not one["archived"]]
            if sorted(there) != sorted(wanted):
                found.append(f"{kind}s: {there}, not {wanted}")
        planned = self.night.run("dashboards", "plan")
        return [*found, *([] if planned.out == "nothing to change\n" else [f"still to change: {planned}"])]


def boards(platform: Platform, hook: Hook, stack: contextlib.ExitStack) -> Boards:
    """Make it, with its Metabase."""
    night = Night(platform)
    stack.callback(night.close)
    night.migrate()
    return Boards(night, hook, stack.enter_context(running()))
