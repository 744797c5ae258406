"""A school that changes every day, and whose nights and backups are killed at random: all by one seed."""

import contextlib
import random
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import psutil
import psycopg2.extensions

from pipeline import postgres
from pipeline.sandbox.servers import clusters
from tests.faults.archives import rows_differing
from tests.faults.loads import SOURCE, Loads
from tests.support.archive import whole
from tests.support.hooks import Hook
from tests.support.night import Night, next_run, program
from tests.support.restores import Restores

# A command that is killed again and again is typed so often with kills, and once more without.
KILLED_TRIES = 3
TRIES = 6
BACKUP_EVERY = 10
COMMAND_SECONDS = 300
STOP_SECONDS = 0.5
# How they come: most often as the kernel or an operator does it.
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP)
TABLES = {"student": "id, name", "payment": "student_id, number, paid", "event": "what, at"}


@dataclass
class Counts:
    """What was done so far."""

    nights: int = 0
    backups: int = 0
    commands: int = 0
    kills: int = 0
    late: int = 0
    seconds: float = 0.0


@dataclass
class Year:
    """Nights in a row. All that is done in one comes from the seed and its number."""

    night: Night
    restores: Restores
    hook: Hook
    seed: int
    counts: Counts = field(default_factory=Counts)
    # Transactions in the source that have written and not ended, each with the night in which it does.
    late: list[tuple[int, psycopg2.extensions.connection]] = field(default_factory=list)
    # How long a command takes that nobody kills, by its chain.
    takes: dict[str, float] = field(default_factory=lambda: {"etl": 6.0, "backup": 6.0})

    def __post_init__(self) -> None:
        self.loads = Loads(self.night, self.hook)
        self.restores.archive.write_settings()

    def go(self, number: int) -> None:
        """Have one day and its night. Raise AssertionError if the warehouse is not what the sources are."""
        dice = random.Random(f"{self.seed} {number}")  # noqa: S311 - for no secret
        self._end_late(number)
        self._change(number, dice)
        self.loads.note()
        run = next_run()
        self._until_done(["run", "etl", "--run", run], dice)
        assert not (found := self.loads.differences()), "\n".join(found)
        if number % BACKUP_EVERY == 0:
            self._until_done(["run", "backup", SOURCE, "--run", run], dice)
            self.counts.backups += 1
            self._compare_backup(run)
        self.counts.nights += 1

    def conclude(self) -> None:
        """End it: a last quiet night, its backup, its audit and its drill, and nothing is left behind."""
        for _, connection in self.late:
            connection.commit()
            connection.close()
        self.late.clear()
        self.loads.note()
        run = next_run()
        for command in (
            ["run", "etl", "--run", run],
            ["audit", SOURCE],
            ["run", "backup", SOURCE, "--run", run],
            ["run", "drill", SOURCE],
        ):
            done = self.night.run(*command)
            assert done.code == 0, (command, done)
        assert not (found := self.loads.differences()), "\n".join(found)
        self._compare_backup(run)
        unfinished = [name for action, name in self.restores.archive.names() if action == "start"]
        assert not unfinished, f"unfinished uploads: {unfinished}"
        deadline = time.monotonic() + 20
        while (left := self.loads.remains()) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not left, "left behind: " + "; ".join(left)

    def close(self) -> None:
        """Let go of what is open."""
        for _, connection in self.late:
            connection.close()

    # The day.

    def _change(self, number: int, dice: random.Random) -> None:
        ask = self.night.ask
        students = [one for (one,) in ask(SOURCE, "SELECT id FROM student ORDER BY id")]
        payments = [one for (one,) in ask(SOURCE, "SELECT number FROM payment ORDER BY number")]
        # Rows that a transaction still holds are left to it.
        free = [one for one in students if one < 100000]
        for one in dice.sample(free, min(len(free), dice.randrange(6))):
            ask(SOURCE, "UPDATE student SET name = name || %s WHERE id = %s", (f",{number}", one))
        for one in dice.sample(free, min(len(free), dice.randrange(3))):
            ask(SOURCE, "DELETE FROM student WHERE id = %s", (one,))
        for one in range(dice.randrange(4)):
            ask(SOURCE, "INSERT INTO student VALUES (%s, %s)", (1000 + 10 * number + one, f"new {number}"))
        free = [one for one in payments if one < 100000]
        for one in dice.sample(free, min(len(free), dice.randrange(12))):
            ask(SOURCE, "UPDATE payment SET paid = paid + 1 WHERE number = %s", (one,))
        for one in dice.sample(free, min(len(free), dice.randrange(6))):
            ask(SOURCE, "DELETE FROM payment WHERE number = %s", (one,))
        for one in range(dice.randrange(15)):
            values = dice.randrange(60), 1000 + 20 * number + one, dice.randrange(1000)
            ask(SOURCE, "INSERT INTO payment VALUES (%s, %s, %s)", values)
        ask(SOURCE, "INSERT INTO event VALUES (%s, now())", (f"day {number}",))
        what = dice.choice(("nothing", "nothing", "truncate", "rewrite", "vacuum", "cluster", "late", "late"))
        table = dice.choice(tuple(TABLES))
        if what == "late":
            self._write_late(number, dice)
        elif not self.late:
            # They would wait for it.
            self._treat(what, table)

    def _treat(self, what: str, table: str) -> None:
        statements = {
            "truncate": [f"TRUNCATE {table}"],
            "rewrite": [
                f"CREATE TABLE moved AS TABLE {table}",
                f"TRUNCATE {table}",
                f"INSERT INTO {table} TABLE moved",
                "DROP TABLE moved",
            ],
            "vacuum": [f"VACUUM FULL {table}"],
            "cluster": [f"CLUSTER {table} USING {table}_pkey"] if table != "event" else [],
        }
        # The names of students are kept by their versions: a truncation is the end of all of them.
        for statement in statements.get(what, []):
            self.night.ask(SOURCE, statement)

    def _write_late(self, number: int, dice: random.Random) -> None:
        """Write rows, and commit them some nights later."""
        home = self.night.platform.sandbox.home
        connection = psycopg2.connect(
            host=home.state.socket_folder,
            port=home.state.ports["sources"],
            user=clusters.SUPERUSER,
            dbname=self.night.platform.database(SOURCE),
        )
        postgres.rows(connection, "INSERT INTO student VALUES (%s, 'late')", (100000 + number,))
        postgres.rows(connection, "INSERT INTO payment VALUES (1, %s, 5)", (100000 + number,))
        self.late.append((number + dice.randrange(1, 4), connection))
        self.counts.late += 1

    def _end_late(self, number: int) -> None:
        for ends, connection in list(self.late):
            if ends <= number:
                connection.commit()
                connection.close()
                self.late.remove((ends, connection))

    # The night.

    def _until_done(self, arguments: Sequence[str], dice: random.Random) -> None:
        """Type a command until it ends well; the first ones are struck at random."""
        said = []
        for number in range(TRIES):
            strikes = dice.randrange(4) if number < KILLED_TRIES else 0
            code, out = self._typed(arguments, strikes, dice)
            assert code != 1, out
            if code == 0:
                return
            said.append(f"ended with {code}: {out[-1500:]}")
        raise AssertionError(f"{' '.join(arguments)} does not end well:\n" + "\n".join(said))

    def _typed(self, arguments: Sequence[str], strikes: int, dice: random.Random) -> tuple[int, str]:
        began = time.monotonic()
        process = subprocess.Popen(
            [program("pipeline"), *arguments],
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self.night.platform.env,
            start_new_session=True,
        )
        self.night.started.append(process)
        self.counts.commands += 1
        moments = sorted(dice.uniform(0, self.takes[arguments[1]]) for _ in range(strikes))
        for moment in moments:
            number, place = dice.choice(SIGNALS), dice.random()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, began + moment - time.monotonic()))
            if process.poll() is None:
                self._strike(process.pid, number, place)
        out, _ = process.communicate(timeout=COMMAND_SECONDS)
        self.night.started.remove(process)
        if not strikes:
            self.takes[arguments[1]] = time.monotonic() - began
        return process.returncode, out

    def _strike(self, command: int, number: signal.Signals, place: float) -> None:
        """Send a signal to one of the processes of a command: the one at `place` (0 to 1) of all of them."""
        with contextlib.suppress(psutil.NoSuchProcess):
            top = psutil.Process(command)
            everyone = [top, *top.children(recursive=True)]
            victim = everyone[int(place * len(everyone))]
            victim.send_signal(number)
            self.counts.kills += 1
            if number == signal.SIGSTOP:
                time.sleep(STOP_SECONDS)
                victim.send_signal(signal.SIGCONT)

    # What came of it.

    def _compare_backup(self, run: str) -> None:
        archive = self.restores.archive
        found = [one for one in archive.names() if f"/{run}/" in one[1] and "/drill-" not in one[1]]
        assert found == whole(SOURCE, run), found
        differing = rows_differing(archive, SOURCE, run, TABLES)
        assert not differing, "\n".join(differing)
