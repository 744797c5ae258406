"""A warehouse with two marts, a Metabase that shows it, and dashboards that a test declares."""

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from pipeline import access, dashboards, settings
from pipeline.catalog import Catalog
from pipeline.catalog.dashboard_files.board import (
    FILTERS,
    Card,
    Chart,
    Dashboard,
    Filter,
    FilterKind,
    Format,
    Past,
    PastUnit,
    Place,
    Reach,
    Tab,
)
from pipeline.catalog.marts import Mart
from pipeline.catalog.source_files.columns import Column
from pipeline.dashboards import Outcome
from pipeline.ledger.surface import Kept, Memory
from pipeline.settings import Settings
from tests.support.metabase import Metabase
from tests.support.night import Night

EMAIL, PASSWORD = "platform@school.example", "a long passphrase 7"
MARTS = """
    CREATE TABLE mart.enrolment (programme text, intake date, students int);
    INSERT INTO mart.enrolment VALUES
        ('Law', '2025-09-01', 40), ('Law', '2026-09-01', 50), ('Tax', '2026-09-01', 7);
    CREATE TABLE mart.staff (department text, heads int);
    INSERT INTO mart.staff VALUES ('Library', 4), ('Services', 9);
"""
PROGRAMME = Filter("programme", "Programme", FilterKind.CATEGORY, "programme")
INTAKE = Filter("intake", "Intake", FilterKind.DATE, "intake", Past(3, PastUnit.YEAR))
SEARCH = Filter("words", "Words", FilterKind.SEARCH, "programme")
REACH = (
    Reach("programme", "programme", "mart.enrolment"),
    Reach("intake", "intake", "mart.enrolment"),
    Reach("words", "programme", "mart.enrolment"),
)
BY_PROGRAMME = Card(
    "Students by programme",
    Chart.BAR,
    Place(0, 2, 12, 6),
    "How many there are.",
    sql=f"SELECT programme, sum(students) AS students FROM mart.enrolment WHERE {FILTERS} GROUP BY programme "
    "ORDER BY programme",
    dimensions=("programme",),
    measures=("students",),
    formats={"students": Format(unit="people")},
    reach=REACH,
    reads=("mart.enrolment",),
    stacked=True,
)
TOTAL = Card(
    "Students",
    Chart.NUMBER,
    Place(12, 2, 6, 3),
    sql=f"SELECT sum(students) AS students FROM mart.enrolment WHERE {FILTERS}",
    measures=("students",),
    reach=REACH[:1],
    reads=("mart.enrolment",),
)
NOTE = Card("About", "text", Place(0, 0, 24, 2), text="Counted *nightly*.")
ENROLMENT = Dashboard(
    "enrolment",
    "Enrolment",
    (Tab("", (NOTE, BY_PROGRAMME, TOTAL)),),
    "Who studies what.",
    (PROGRAMME, INTAKE, SEARCH),
)
HEADS = Card(
    "Heads",
    Chart.PIE,
    Place(0, 0, 12, 8),
    sql="SELECT department, heads FROM mart.staff ORDER BY 1",
    dimensions=("department",),
    measures=("heads",),
    reads=("mart.staff",),
)
LISTED = Card(
    "All departments", Chart.TABLE, Place(0, 0, 12, 9), sql="SELECT * FROM mart.staff", reads=("mart.staff",)
)
STAFF = Dashboard("staff", "Staff", (Tab("Overview", (HEADS,)), Tab("List", (LISTED,))))
CATALOG = Catalog(
    sources={},
    marts={
        "enrolment": Mart(
            name="enrolment",
            sql="SELECT 1",
            description="Students by programme and intake.",
            rules={"intake": Column(description="The first day of it.")},
        )
    },
)


def meaning(mart: str, intake: str | None) -> Catalog:
    """Return what is declared with other words for the mart of enrolment and its intake."""
    rules = {"intake": Column(description=intake)}
    changed = CATALOG.marts["enrolment"].model_copy(update={"description": mart, "rules": rules})
    return Catalog(sources={}, marts={"enrolment": changed})


def with_card(board: Dashboard, old: Card, *new: Card) -> Dashboard:
    """Return a dashboard in which one card has become others, or none."""
    tabs = [
        Tab(tab.title, tuple(one for card in tab.cards for one in (new if card is old else (card,))))
        for tab in board.tabs
    ]
    return dataclasses.replace(board, tabs=tuple(tab for tab in tabs if tab.cards))


@dataclass
class Surface:
    """One test's Metabase, and what is declared for it."""

    night: Night
    metabase: Metabase
    declared: list[Dashboard] = field(default_factory=lambda: [ENROLMENT, STAFF])
    said: list[str] = field(default_factory=list)
    edits: str = "overwrite"
    catalog: Catalog = CATALOG

    @property
    def entry(self) -> str:
        """Where the administrator's password is in Vault."""
        return f"metabase/{self.night.platform.prefix}"

    @property
    def settings(self) -> Settings:
        """The settings, with the address that it has now."""
        platform = self.night.platform
        platform.more["metabase"] = {"url": self.metabase.url, "secret": self.entry, "edits": self.edits}
        platform.write_settings()
        return settings.read([platform.settings_file])

    def apply(self, *declared: Dashboard) -> Outcome:
        """Apply what is declared, or these dashboards alone from now on."""
        self.declared = list(declared) or self.declared
        return dashboards.apply(self.settings, self.catalog, self.declared, self.said.append)

    def plan(self) -> Outcome:
        """Plan it."""
        return dashboards.plan(self.settings, self.catalog, self.declared)

    def meant(self) -> dict[str, str | None]:
        """Return what Metabase says of each mart, and of each column of it."""
        tables = [one for one in self.metabase.routes.tables if one["schema"] == "mart"]
        found = {one["name"]: one["description"] for one in tables}
        fields = [field for one in tables for field in one["fields"]]
        return found | {f"{field['table']}.{field['name']}": field["description"] for field in fields}

    def build(self, mart: str, digest: str, run: str) -> None:
        """Let the ledger say that a run has built a mart, as a declaration of that digest wants it."""
        query = """
            INSERT INTO ops.step (run, task, name, state, finished_at, host, pid, detail)
            VALUES (%s, 'BuildMart', %s, 'done', clock_timestamp(), 'here', 1, %s)
            """
        self.night.ask("warehouse", query, (run, f"mart.{mart}", json.dumps({"digest": digest})))

    def kept(self) -> dict[str, Kept]:
        """Return what is remembered."""
        with self.memory() as memory:
            return memory.all()

    @contextlib.contextmanager
    def memory(self) -> Iterator[Memory]:
        """Give the body what is remembered, to be changed."""
        with access.opened(self.settings) as databases, databases.warehouse(autocommit=True) as warehouse:
            yield Memory(warehouse)


@contextlib.contextmanager
def surface_of(night: Night, metabase: Metabase) -> Iterator[Surface]:
    """Make the marts, and the entry of the administrator; remove that afterwards."""
    made = Surface(night, metabase)
    night.ask("warehouse", MARTS)
    group = f"{night.platform.database('warehouse')}_dashboards"
    night.ask("warehouse", f"GRANT SELECT ON ALL TABLES IN SCHEMA mart TO {group}")
    vault = night.platform.sandbox.vault
    vault.write(made.entry, {"email": EMAIL, "password": PASSWORD})
    try:
        yield made
    finally:
        vault.remove(made.entry)
        vault.remove(f"{made.entry}/api_key")
