"""Brings Metabase to what the analysts' repository declares, or says what that would change."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from pipeline import access, postgres
from pipeline.access import Access
from pipeline.catalog import Catalog
from pipeline.catalog.dashboard_files.board import Dashboard
from pipeline.dashboards import changes, connection, instance, meanings, permissions, trial, wanted
from pipeline.dashboards.changes import Action, Change, There
from pipeline.dashboards.connection import Database, Remembered
from pipeline.dashboards.wanted import Board, Wanted, is_variable
from pipeline.dashboards.write import Writer
from pipeline.errors import AlreadyRunningError, UsageError
from pipeline.ledger import surface
from pipeline.ledger.surface import Memory
from pipeline.metabase import Client
from pipeline.postgres import Connection, locks
from pipeline.settings import Edits, Settings
from pipeline.settings.sections import MetabaseSettings

LOCK = "dashboards"
PrintLine = Callable[[str], object]


@dataclass
class Outcome:
    """What was, or would be, changed, and what is wrong with which card."""

    changes: list[Change] = field(default_factory=list)
    # What is not a thing of ours alone: the connection, permissions, descriptions.
    others: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    # Those of them that are over once a mart is built.
    unbuilt: list[str] = field(default_factory=list)
    # Requests that wrote something.
    writes: int = 0

    def add_descriptions(self, changes: Sequence[Change]) -> list[Change]:
        """Add what there was to do of descriptions, and return what somebody changed by hand: told by name.

        Of the others, which may be hundreds, only the number is.
        """
        by_hand = [one for one in changes if one.by_hand]
        self.changes += by_hand
        if counted := len(changes) - len(by_hand):
            self.others.append(f"{counted} descriptions of tables and columns")
        return by_hand

    @property
    def shown(self) -> list[Change]:
        """Return what a person is told of."""
        return [one for one in self.changes if one.action != Action.REMEMBER]


def plan(settings: Settings, catalog: Catalog, dashboards: Sequence[Dashboard]) -> Outcome:
    """Return what `apply` would change; without [metabase], what an empty one would get. Change nothing."""
    outcome = Outcome()
    boards = [wanted.board(one) for one in dashboards]
    with access.opened(settings) as databases, databases.warehouse(autocommit=True) as warehouse:
        surface.require_migrated(warehouse)
        memory = Memory(warehouse)
        uri, version = _address(databases)
        fine, held = _tried(databases, warehouse, catalog, boards, outcome)
        if settings.metabase is None:
            _compare(There(None, {}, None), fine, held, Edits.OVERWRITE, outcome)
            return outcome
        with contextlib.closing(Client(settings.metabase.url)) as client, client.understood():
            ready = instance.opened(client, settings.metabase, databases.vault, None, _print_nothing)
            known = memory.find(connection.KEY)
            if not ready or known is None or known.number is None:
                outcome.others.append("the connection to the warehouse: will be created")
                _compare(There(None, {}, None), fine, held, Edits.OVERWRITE, outcome)
                return outcome
            database = Database(client, memory, known.number)
            if wrong := connection.differences(client, known, uri, version):
                outcome.others.append(f"the connection to the warehouse: {', '.join(wrong)}")
                if wrong == ["no longer exists"]:
                    _compare(There(None, {}, None), fine, held, Edits.OVERWRITE, outcome)
                    return outcome
            there = There(client, memory.all(), database)
            _compare(there, fine, held, settings.metabase.edits, outcome)
            _compare_others(client, there, database, catalog, settings.metabase, outcome)
    return outcome


def apply(
    settings: Settings, catalog: Catalog, dashboards: Sequence[Dashboard], print_line: PrintLine
) -> Outcome:
    """Let Metabase be as declared, and return what that took.

    A dashboard with a broken card, or with one whose mart is not built as it is declared, stays as it was.

    Raise UnreachableError if it is out of reach, StepError if it refuses or forgets something,
    AlreadyRunningError if somebody else is at it.
    """
    outcome = Outcome()
    asked = settings.require_metabase()
    boards = [wanted.board(one) for one in dashboards]
    with access.opened(settings) as databases, databases.warehouse(autocommit=True) as warehouse:
        surface.require_migrated(warehouse)
        _lock(warehouse)
        memory = Memory(warehouse)
        uri, version = _address(databases)
        fine, held = _tried(databases, warehouse, catalog, boards, outcome)
        with contextlib.closing(Client(asked.url)) as client, client.understood():
            instance.opened(client, asked, databases.vault, memory, print_line)
            database = connection.keep(client, memory, uri, version)
            _sync(databases, database, fine, print_line)
            there = There(client, memory.all(), database)
            _write(Writer(client, memory, there), there, memory, fine, held, asked, outcome, print_line)
            graphs = permissions.keep(client, permissions.wanted(client, database.number, there.collections))
            outcome.others += [f"the permissions at {path}" for path in graphs]
            for change in outcome.add_descriptions(meanings.keep(database, catalog, asked.edits)):
                print_line(str(change))
            outcome.writes = client.writes
    return outcome


def _print_nothing(_line: str) -> None:
    """PrintLine nothing."""


def _lock(warehouse: Connection) -> None:
    if not locks.try_hold(warehouse, LOCK):
        raise AlreadyRunningError("dashboards are already being applied", hint="wait for it to end")


def _address(databases: Access) -> tuple[str, str]:
    """Return the warehouse's address with the login of dashboards, and what tells that entry's version."""
    where = databases.settings.require_warehouse().dashboards
    if where.dynamic:
        raise UsageError(
            "[warehouse] dashboards_secret: Metabase stores its login, so Vault cannot make a new one "
            "for each step",
            hint="name an entry in Vault that has a uri",
        )
    version = databases.vault.read_version(where.secret)[1]
    with databases.vault.database_uri(where) as uri:
        return uri, version


def _tried(
    databases: Access, warehouse: Connection, catalog: Catalog, boards: Sequence[Board], outcome: Outcome
) -> tuple[list[Board], list[Dashboard]]:
    """Return the dashboards whose cards the warehouse answers, and those that are held back."""
    fine, held = [], []
    with databases.dashboards() as own:
        for board in boards:
            unbuilt = list(trial.unbuilt(warehouse, catalog, board.dashboard))
            problems = unbuilt or list(trial.problems(own, board))
            outcome.unbuilt += unbuilt
            outcome.problems += problems
            if problems:
                held.append(board.dashboard)
            else:
                fine.append(board)
    return fine, held


def _objects(boards: Sequence[Board]) -> list[Wanted]:
    return [wanted.root(), *(one for board in boards for one in board.objects)]


def _compare(
    there: There, boards: Sequence[Board], held: Sequence[Dashboard], edits: Edits, outcome: Outcome
) -> None:
    wanted_objects = _objects(boards)
    names = changes.renamed(there, list(changes.renames(there, wanted_objects, held)))
    for one in wanted_objects:
        if change := changes.of_object(there, one, edits, names.get(one.key)):
            outcome.changes.append(change)
    for known in changes.removed(there, wanted_objects, held):
        outcome.changes.append(Change(Action.ARCHIVE, known.kind, known.name, known.file))


def _compare_others(
    client: Client,
    there: There,
    database: Database,
    catalog: Catalog,
    asked: MetabaseSettings,
    outcome: Outcome,
) -> None:
    graphs = permissions.differences(client, permissions.wanted(client, database.number, there.collections))
    outcome.others += [f"the permissions at {path}" for path in graphs]
    outcome.add_descriptions(meanings.missing(database, catalog, asked.edits))


def _sync(databases: Access, database: Database, boards: Sequence[Board], print_line: PrintLine) -> None:
    """Have Metabase look at the tables again where columns have changed, or it lacks one that is asked."""
    needed = {
        (reach.relation, reach.name)
        for board in boards
        for card in board.cards.values()
        for reach in card.reach
        if not is_variable(board.dashboard.filter(reach.filter), reach)
    }
    # And the tables themselves, so that what they mean can be told.
    needed |= {(name, "") for board in boards for card in board.cards.values() for name in card.reads}
    with databases.dashboards() as own:
        digest = str(postgres.value(own, postgres.statement("dashboards/dashboard_columns")))
    known = database.memory.find(connection.KEY)
    assert known is not None  # noqa: S101 - it was just kept
    remembered = Remembered.of_kept(known)
    is_new = remembered.columns != digest
    if is_new or database.missing(sorted(needed)):
        database.sync()
        print_line("Metabase was asked to sync the tables of the warehouse")
    database.wait_for(sorted(needed))
    if is_new:
        database.memory.save(replace(known, detail=replace(remembered, columns=digest).to_json()))


def _write(
    writer: Writer,
    there: There,
    memory: Memory,
    boards: Sequence[Board],
    held: Sequence[Dashboard],
    asked: MetabaseSettings,
    outcome: Outcome,
    print_line: PrintLine,
) -> None:
    wanted_objects = _objects(boards)
    pairs = list(changes.renames(there, wanted_objects, held))
    names = changes.renamed(there, pairs)
    for known, one in pairs:
        memory.rename(known.key, one.key)
    for one in wanted_objects:
        if change := changes.of_object(there, one, asked.edits, names.get(one.key)):
            writer.do(change, one)
            outcome.changes.append(change)
            if change.action != Action.REMEMBER:
                print_line(str(change))
    for known in list(changes.removed(there, wanted_objects, held)):
        if writer.archive(known):
            outcome.changes.append(Change(Action.ARCHIVE, known.kind, known.name, known.file))
            print_line(str(outcome.changes[-1]))
