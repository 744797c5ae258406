"""Whatever happens to a source, after each run the warehouse equals it, or says what keeps it from that.

What happens is drawn at random, the same every time; FUZZ_SECONDS=600 draws anew for that long. Of what
fails, every statement that was run is told.
"""

import contextlib
import os
import re
import secrets
import signal
import threading
import time
import traceback
from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from pipeline import postgres
from pipeline.errors import CheckError, StepError, UnreachableError
from tests.support.night import Night, next_run
from tests.support.shapeshifter import Shapeshifter

pytestmark = pytest.mark.endurance

FUZZ_SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
# So many days of so many tables take less than a minute.
TABLES, DAYS = 8, 3
GOING_ON = "; its last good rows stay up"
# Whatever blocks the table, it is told with the line that accepts it, and where that is to be written.
ACCEPT = (
    r"to accept it, write '(?P<line>renamed_from: .+?"
    r"|drift: \{(?:dropped: evolve|(?:type|narrowed|key): refresh)\})' "
    r"under (?P<under>\"(?:[^\"\\]|\\.)*\"|\w+) in sources/shop\.yaml"
)


class Day:
    """What is drawn for one table, and what must hold after each of its nights."""

    def __init__(self, night: Night, table: Shapeshifter, said: dict[str, Any]) -> None:
        self.night, self.table, self.said = night, table, said
        self.accepted: dict[str, Any] = {}

    @property
    def name(self) -> str:
        return self.table.schema

    def declare(self) -> None:
        declaration = self.table.declaration(**self.said, **self.accepted)
        self.night.platform.declare("shop", declaration)

    def load(self) -> None:
        """Load the table; if it is blocked, do as is told, which must be enough."""
        for _ in range(5):
            self.declare()
            before = self.content()
            try:
                self.night.load("shop", self.name)
            except CheckError as error:
                assert self.content() == before, "a blocked table was changed"
                self.accept(error)
            except StepError as error:
                self.set_aside(str(error))
            else:
                self.require_equal()
                self.accepted = {}
                return
        pytest.fail(f"what was told was done, and the table is still blocked: {self.accepted}")

    def accept(self, error: CheckError) -> None:
        assert error.fact.startswith(f"shop.{self.name}: "), error
        assert error.fact.endswith(GOING_ON), error
        for part in re.split(r"(?<=sources/shop\.yaml); ", error.hint):
            found = re.fullmatch(ACCEPT, part)
            assert found, f"nobody could act on this: {part}"
            line, under = YAML(typ="safe").load(found["line"]), YAML(typ="safe").load(found["under"])
            if "renamed_from" in line:
                assert f'was renamed to "{under}" in the source' in error.fact
                self.accepted.setdefault("columns", {})[under] = line
            else:
                assert under == self.name
                self.accepted.setdefault("drift", {}).update(line["drift"])

    def set_aside(self, told: str) -> None:
        """What only the warehouse has and cannot be carried into the new shape is kept under another name."""
        found = re.search(r"do not fit the (?:table's )?new .*run '(ALTER TABLE \S+ RENAME TO) \.\.\.'", told)
        assert found, f"nobody could act on this: {told}"
        self.night.ask("warehouse", f"{found[1]} kept_{next(numbers)}")

    def content(self) -> list[tuple[Any, ...]] | None:
        """Return all rows of the warehouse's table, or None if there is none."""
        there = self.night.value("warehouse", "SELECT to_regclass(%s)", (f"shop.{self.name}",))
        if there is None:
            return None
        return self.night.ask("warehouse", f"SELECT t::text FROM shop.{self.name} AS t ORDER BY 1")

    def require_equal(self) -> None:
        assert self.night.differing("shop") == []
        types = [
            dict(self.night.ask(name, TYPES_OF, (relation,)))
            for name, relation in (("shop", f"{self.name}.item"), ("warehouse", f"shop.{self.name}"))
        ]
        assert types[0].items() <= types[1].items()
        if self.said.get("history"):
            self.require_history()

    def require_history(self) -> None:
        """The open versions are the rows, each once, and no version ends before it begins."""
        live = "WHERE _deleted_at IS NULL" if self.said["deletes"] == "soft" else ""
        columns = ", ".join(f't."{name.replace(chr(34), chr(34) * 2)}"' for name in self.table.columns)
        rows, versions = (
            self.night.ask(
                "warehouse", f"SELECT ROW({columns})::text FROM shop.{self.name}{of} t {which} ORDER BY 1"
            )
            for of, which in (("", live), ("_history", "WHERE _valid_to IS NULL"))
        )
        assert rows == versions
        turned = f"SELECT count(*) FROM shop.{self.name}_history WHERE _valid_to < _valid_from"
        assert self.night.value("warehouse", turned) == 0

    def load_with_an_accident(self, kind: str, after_seconds: float) -> None:
        """Load, and let a server or a signal end that at some moment; the same run then does it all."""
        self.declare()
        run = next_run()
        if kind == "killed":
            self._killed(run, after_seconds)
        else:
            self._cut(run, kind, after_seconds)
        with contextlib.suppress(CheckError):
            self.night.extract("shop", run, self.name)
            self.night.publish("shop", run, self.name)
            self.require_equal()

    def _killed(self, run: str, after_seconds: float) -> None:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                self.night.load("shop", self.name, run)
                code = 0
            except CheckError:
                code = 4
            except BaseException:  # noqa: BLE001 - the parent tells
                traceback.print_exc()
            finally:
                os._exit(code)
        time.sleep(after_seconds)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        ended = os.waitstatus_to_exitcode(status)
        assert ended in (0, 4, -signal.SIGKILL)

    def _cut(self, run: str, database: str, after_seconds: float) -> None:
        cutting = threading.Timer(after_seconds, cut, (self.night, database))
        cutting.start()
        with contextlib.suppress(UnreachableError, StepError, CheckError):
            self.night.load("shop", self.name, run)
        cutting.join()


TYPES_OF = """
    SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
    JOIN pg_type t ON t.oid = atttypid
    WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND t.typtype = 'b' AND t.oid < 10000
"""


def cut(night: Night, name: str) -> None:
    """End every session of the pipeline in a source or the warehouse."""
    with night.platform.connect(name) as connection:
        postgres.rows(
            connection,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name LIKE 'pipeline%'",
        )


numbers = iter(range(1, 1_000_000))


def shift_and_load(night: Night, draw: Any) -> Shapeshifter:
    key = draw(st.sampled_from([["id"], ["id", "code"], ["code", "id"], []]))
    said = {
        "changes": draw(st.sampled_from(["xmin", "xmin", "cursor", "full"])),
        "deletes": draw(st.sampled_from(["hard", "soft"])),
        "history": bool(key) and draw(st.booleans()),
    }
    if said["changes"] == "cursor":
        said |= {"cursor": "touched_at", "lookback": "1 minute"}
    with night.platform.connect("shop") as source:
        reader = night.platform.reader("shop")
        table = Shapeshifter(source, draw, f"s{next(numbers)}", reader, key)
        try:
            table.create()
            day = Day(night, table, said)
            day.load()
            for _ in range(draw(st.integers(1, DAYS))):
                table.shift()
                accident = draw(st.sampled_from([*[""] * 6, "killed", "killed", "shop", "warehouse"]))
                if accident:
                    day.load_with_an_accident(accident, draw(st.floats(0, 1.2)))
                day.load()
        except BaseException:
            hypothesis.note("\n".join([str(said), *(f"{statement};" for statement in table.script)]))
            raise
    return table


COMMON = settings(
    database=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)


@settings(COMMON, derandomize=True, max_examples=TABLES, phases=[Phase.generate])
@given(data=st.data())
def test_the_warehouse_equals_its_source_or_says_what_to_do(night: Night, data: st.DataObject) -> None:
    if "shop" not in night.platform.sources:
        night.platform.source("shop")
    shift_and_load(night, data.draw)


@pytest.mark.skipif(not FUZZ_SECONDS, reason="only with FUZZ_SECONDS=600 in the environment")
def test_for_long(night: Night) -> None:
    night.platform.source("shop")
    end = time.monotonic() + FUZZ_SECONDS
    while time.monotonic() < end:
        seed = secrets.randbits(32)

        @hypothesis.seed(seed)
        @settings(COMMON, max_examples=20, phases=[Phase.generate], report_multiple_bugs=False)
        @given(data=st.data())
        def run(data: st.DataObject) -> None:
            shift_and_load(night, data.draw)

        run()
