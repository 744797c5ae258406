"""What analysts declare, and that every mistake in it is told at once, with file and line."""

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import catalog, names
from pipeline.catalog import Table, document
from pipeline.catalog.check_kinds.freshness import FreshnessCheck
from pipeline.catalog.check_kinds.relationship import RelationshipCheck
from pipeline.catalog.check_kinds.rows import RowsCheck
from pipeline.catalog.check_kinds.sql import SqlCheck
from pipeline.catalog.check_kinds.unique import UniqueCheck
from pipeline.errors import ProblemsError, UsageError

HEAD = "source: hr\ntables:\n"
Write = Callable[..., Path]

# A line each; a line here that is indented goes on with the one before.
_ALL = """\
broken.yaml:2: is not valid YAML: while parsing a flow sequence: expected ',' or ']', but got '<stream
  end>'; correct it
empty.yaml:1: must be a mapping (key: value); correct it
hr.yaml:1: source: "hr2" is not the file's name; write source: hr, or rename the file
hr.yaml:2: defaults.changes: must be xmin, cursor or full; did you mean cursor?
hr.yaml:2: defaults.schem: unknown key; did you mean schema?
hr.yaml:3: tabels: unknown key; did you mean tables?
hr.yaml:5: tables.department.lookback: has no effect without changes: cursor; write that, or remove this
hr.yaml:5: tables.department.lookback: is not a valid duration; write a number and a unit, such as
  15 minutes, 2 hours or 1 day
hr.yaml:6: tables.department: is given twice; keep one
hr.yaml:9: tables.employee.max_deleted: is more than 100%; lower it
hr.yaml:11: tables.employee.columns.id.mask: a column of the key must keep its values apart; use hash, or
  another key
hr.yaml:12: tables.employee.columns.email.null_rat: unknown key; did you mean null_rate?
hr.yaml:13: tables.employee.columns.phone.mask: must be hash, null or exclude; did you mean hash?
hr.yaml:13: tables.employee.columns.phone.null_rate.max: missing; write it here
hr.yaml:13: tables.employee.columns.phone.null_rate.maxx: unknown key; did you mean max?
hr.yaml:14: tables.employee.columns.grade.accepted[0]: is not a single value; write a number, a date or text
hr.yaml:14: tables.employee.columns.grade.range: has no effect; write min or max
hr.yaml:15: tables.employee.columns._loaded_at: the warehouse adds a column of this name itself; use
  mask: exclude
hr.yaml:16: tables.employee.drift.added: must be evolve, refresh, ignore or block; correct it
hr.yaml:16: tables.employee.drift.droped: must be added, added_with_default, dropped, renamed, widened,
  narrowed, type, nullable, key, recreated, enum, order, partition or mask; did you mean dropped?
hr.yaml:18: tables.employee.checks[0].rows.change: is not a valid share; write a percentage such as 50%, or a
  number from 0 to 1
hr.yaml:18: tables.employee.checks[0].rows.min: must be a whole number; correct it
hr.yaml:19: tables.employee.checks[1].rows.level: unknown key here; write it beside the check's own key,
  not inside it
hr.yaml:20: tables.employee.checks[2].unique: is empty; write at least one
hr.yaml:21: tables.employee.checks[3]: uniq is not a kind of check; did you mean unique?
hr.yaml:22: tables.employee.checks[4].sql: must be text; write it in quotes
hr.yaml:23: tables.employee.checks[5].relationship.to: no such table in this file; did you mean
  department?
hr.yaml:23: tables.employee.checks[5].relationship: columns and to_columns differ in number; write one
  for each
hr.yaml:24: tables.employee.checks[6]: is not a kind of check; write one of freshness, relationship, rows,
  sql, unique
mart.yaml:1: source: the name "mart" is reserved by the warehouse; choose another
mart.yaml:2: tables: is empty; write at least one
"""
ALL_PROBLEMS = [f"sources/{line}" for line in _ALL.replace("\n  ", " ").splitlines()]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write files into sources/ of an analysts' repository and return its folder."""
    (tmp_path / "sources").mkdir()

    def written(**files: str) -> Path:
        for stem, text in files.items():
            (tmp_path / "sources" / f"{stem}.yaml").write_text(text)
        return tmp_path

    return written


def problems(directory: Path) -> list[str]:
    with pytest.raises(ProblemsError) as caught:
        catalog.read(directory)
    assert caught.value.exit_code == 2
    return list(caught.value.problems)


def table(directory: Path, name: str = "employee") -> Table:
    return catalog.read(directory).source("hr").table(name)


def test_everything_that_can_be_declared_is_read(write: Write) -> None:
    found = table(
        write(
            hr="""\
source: hr
defaults:
  {schema: people, changes: cursor, cursor: updated_at, deletes: soft, drift: {added: evolve, key: block}}
tables:
  employee:
    table: staff_member
    schema: personnel
    cursor: changed_at
    lookback: 15 minutes
    deletes: ignore
    max_deleted: 5%
    key: [id, site]
    history: true
    columns:
      national_id: {mask: hash}
      photo: {mask: exclude}
      email: {null_rate: {max: 0.02, level: warn}}
      phone: {null_rate: 50%}
      grade: {renamed_from: level, accepted: [a, b, 3]}
      hired_on: {range: {min: 1990-01-01}}
    drift: {dropped: block, added: ignore}
    checks:
      - rows: {min: 1, max: 10, change: 150%}
        level: warn
      - unique: staff_number
        quarantine: rows
      - sql: select * from {table} where hired_on > current_date   # rows that come back are wrong
      - freshness: {column: changed_at, max_age: 2 days}
      - relationship: {columns: manager_id, to: employee, to_columns: id}
"""
        )
    )
    assert (found.source, found.name, found.schema_name, found.relation) == (
        "hr",
        "employee",
        "personnel",
        "staff_member",
    )
    assert (found.changes, found.cursor, found.lookback) == ("cursor", "changed_at", timedelta(minutes=15))
    assert (found.deletes, found.max_deleted, found.key, found.history) == (
        "ignore",
        0.05,
        ("id", "site"),
        True,
    )
    assert found.columns["national_id"].mask == "hash"
    assert found.columns["email"].null_rate == catalog.NullRate(max=0.02, level="warn")
    assert found.columns["phone"].null_rate == catalog.NullRate(max=0.5, level="error")
    assert found.columns["grade"].renamed_from == "level"
    assert found.columns["grade"].accepted == catalog.Accepted(values=("a", "b", 3))
    assert found.columns["hired_on"].range == catalog.Range(min=date(1990, 1, 1))
    assert found.drift == {"added": "ignore", "key": "block", "dropped": "block"}
    assert [check.kind for check in found.checks] == ["rows", "unique", "sql", "freshness", "relationship"]
    rows, unique, sql, freshness, relationship = found.checks
    assert isinstance(rows, RowsCheck)
    assert (rows.rows.min, rows.rows.max, rows.rows.change) == (1, 10, 1.5)
    assert (rows.level, rows.quarantine, unique.level, unique.quarantine) == ("warn", "hold", "error", "rows")
    assert isinstance(unique, UniqueCheck)
    assert unique.unique == ("staff_number",)
    assert isinstance(sql, SqlCheck)
    assert sql.sql == "select * from {table} where hired_on > current_date"
    assert isinstance(freshness, FreshnessCheck)
    assert freshness.freshness.max_age == timedelta(days=2)
    assert isinstance(relationship, RelationshipCheck)
    assert relationship.relationship.to_columns == ("id",)


def test_adding_a_table_is_one_line(write: Write) -> None:
    found = table(write(hr=HEAD + "  employee:\n"))
    assert found == Table(source="hr", name="employee", relation="employee")
    assert (found.schema_name, found.changes, found.deletes, found.max_deleted) == (
        "public",
        "xmin",
        "hard",
        0.2,
    )
    assert (found.cursor, found.lookback, found.key) == (None, timedelta(hours=1), None)


def test_two_schemas_may_hold_tables_of_one_name(write: Write) -> None:
    directory = write(hr=HEAD + "  employee:\n  old_employee: {schema: archive, table: employee}\n")
    assert table(directory, "old_employee").relation == "employee"
    assert table(directory, "old_employee").schema_name == "archive"


def test_mask_null_masks(write: Write) -> None:
    """YAML reads `null` as nothing, and the column would leave the source in the clear."""
    for spelling in ("null", "'null'", "~", "", "Null"):
        directory = write(hr=HEAD + f"  employee:\n    columns:\n      iban:\n        mask: {spelling}\n")
        assert table(directory).columns["iban"].mask == "null"


def test_yes_and_no_are_words(write: Write) -> None:
    """YAML 1.1 would read the country code of Norway as false."""
    directory = write(hr=HEAD + "  employee: {columns: {country: {accepted: [no, on, y]}}}\n")
    assert table(directory).columns["country"].accepted == catalog.Accepted(values=("no", "on", "y"))


def test_cursor_of_the_defaults_does_not_bind_tables_read_in_full(write: Write) -> None:
    directory = write(
        hr="source: hr\ndefaults: {changes: cursor, cursor: updated_at}\n"
        "tables: {employee: , grade: {changes: full}}\n"
    )
    assert table(directory).cursor == "updated_at"
    assert table(directory, "grade").cursor is None


def test_problems_of_all_files_are_told_at_once_with_file_and_line(write: Write) -> None:
    found = problems(
        write(
            hr="""\
source: hr2
defaults: {schem: public, changes: cursors}
tabels: 1
tables:
  department: {lookback: 5}
  department: {}
  employee:
    key: [id]
    max_deleted: 200%
    columns:
      id: {mask: null}
      email: {null_rat: {max: 0.02, level: warn}}
      phone: {null_rate: {maxx: 0.02}, mask: hahs}
      grade: {accepted: [[1]], range: {}}
      _loaded_at:
    drift: {droped: block, added: no}
    checks:
      - rows: {min: a, change: 50}
      - rows: {min: 5, max: 1, level: warn}
      - unique: []
      - uniq: [x]
      - sql: 5
      - relationship: {columns: [a, b], to: departmen, to_columns: id}
      - 5
""",
            broken="a: [1\nb",
            empty="",
            mart="source: mart\ntables: {}\n",
        )
    )
    assert found == ALL_PROBLEMS


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("employee: {changes: cursor}", "employee.changes: needs a cursor"),
        ("employee: {cursor: updated_at}", "employee.cursor: has no effect without changes: cursor"),
        ("employee: {key: []}", "employee.key: is empty"),
        ("employee: {key: [a, a]}", "employee.key: names a column twice"),
        (
            "employee: {key: id, columns: {id: {mask: exclude}}}",
            "employee.columns.id.mask: a column of the key",
        ),
        ("employee: {max_deleted: true}", "employee.max_deleted: is not a valid share"),
        ("employee: {max_deleted: 20}", "employee.max_deleted: is not a valid share"),
        (
            "employee: {changes: cursor, cursor: c, lookback: 1 month}",
            "employee.lookback: is not a valid duration",
        ),
        ("employee: !python/object:os.system {}", "tables.employee: the tag "),
        ("{a: &x {}, b: *x}", "tables.b: aliases (*name) are not supported"),
        ("{a: {<<: {changes: full}}}", "tables.a: the key << is not text"),
        ("2024: {}", "tables: the key 2024 is not text; write it in quotes"),
        ("employee: full", "tables.employee: must be a mapping"),
        ("employee: {columns: {a: {range: {min: 2024-02-31}}}}", "range.min: 2024-02-31 cannot be read"),
        ("e" * 64 + ":", "the name is longer than 63 bytes"),
        ("\temployee:", "is not valid YAML: while scanning for the next token: found character '\\t'"),
    ],
)
def test_each_mistake_is_told_with_its_line(write: Write, line: str, problem: str) -> None:
    told = problems(write(hr=f"source: hr\n# a comment\ntables:\n  {line}\n"))
    assert len(told) == 1, told
    assert told[0].startswith("sources/hr.yaml:4: ")
    assert problem in told[0]


def test_repository_without_declarations_is_told(tmp_path: Path) -> None:
    assert problems(tmp_path / "nowhere") == [
        f"{tmp_path}/nowhere/sources: holds no .yaml file; write one for each source, or name another folder"
    ]


def test_file_with_another_ending_is_not_ignored(write: Write, tmp_path: Path) -> None:
    """Else a whole source would silently not be loaded."""
    directory = write(hr=HEAD + "  employee:\n")
    (tmp_path / "sources" / "records.yml").write_text("")
    assert problems(directory) == ["sources/records.yml:1: must end in .yaml; rename it"]


def test_file_that_is_no_text_is_told(write: Write, tmp_path: Path) -> None:
    directory = write()
    (tmp_path / "sources" / "hr.yaml").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read as UTF-8 text" in problems(directory)[0]


def test_unknown_names_are_told_with_the_known_ones(write: Write) -> None:
    found = catalog.read(write(hr=HEAD + "  employee:\n"))
    with pytest.raises(UsageError, match=r"rh: no such source .*; to add it, write sources/rh\.yaml"):
        found.source("rh")
    with pytest.raises(UsageError, match=r"hr\.employe: no such table \(did you mean employee\?\)"):
        found.source("hr").table("employe")


@given(st.text(max_size=300))
def test_any_text_is_parsed_or_told(text: str) -> None:
    """Whatever an analyst saves, what comes out is a line and a sentence, and no traceback."""
    parsed = document.parse(text)
    assert all(line >= 1 and what for line, what in parsed.problems)


@pytest.mark.endurance
def test_deep_nesting_is_told(write: Write) -> None:
    assert "nested too deeply" in problems(write(hr="[" * 5000))[0]


def test_near_matches_ignore_case_and_dashes() -> None:
    assert names.nearest("Null-Rate", ["null_rate"]) == "null_rate"
    assert names.nearest("xyz", ["null_rate"]) is None


def test_rules_have_a_short_and_a_long_form(write: Write) -> None:
    columns = table(
        write(
            hr=HEAD
            + """\
  employee:
    columns:
      grade: {accepted: {values: [a, 1], level: warn, quarantine: rows}}
      pay: {range: {min: 0, level: warn, quarantine: rows}, null_rate: {max: 5%, quarantine: rows}}
      place: {type: text, accepted: [a]}
"""
        )
    ).columns
    assert columns["grade"].accepted == catalog.Accepted(values=("a", 1), level="warn", quarantine="rows")
    assert columns["pay"].range == catalog.Range(min=0, level="warn", quarantine="rows")
    assert columns["pay"].null_rate == catalog.NullRate(max=0.05, quarantine="rows")
    assert columns["place"].accepted == catalog.Accepted(values=("a",), level="error", quarantine="hold")
    assert columns["place"].type == "text"


def test_quarantine_is_inherited_by_rules_that_have_rows_to_set_aside(write: Write) -> None:
    """A count has none: to load a table of the wrong size because of its source's default would be a loss."""
    directory = write(
        hr="""\
source: hr
defaults: {quarantine: rows}
tables:
  employee:
    columns: {pay: {range: {min: 0}, null_rate: 0%, accepted: {values: [1], quarantine: hold}}}
    checks:
      - unique: [number]
      - rows: {min: 1}
      - freshness: {column: changed_at, max_age: 2 days}
      - sql: select * from {table}
        quarantine: hold
  department: {quarantine: hold, checks: [unique: [name]]}
"""
    )
    found = table(directory)
    pay = found.columns["pay"]
    assert pay.range is not None
    assert pay.null_rate is not None
    assert pay.accepted is not None
    assert [pay.range.quarantine, pay.null_rate.quarantine, pay.accepted.quarantine] == [
        "rows",
        "rows",
        "hold",
    ]
    assert [check.quarantine for check in found.checks] == ["rows", "hold", "hold", "hold"]
    department = table(directory, "department")
    assert (department.quarantine, department.checks[0].quarantine) == ("hold", "hold")


def test_every_kind_of_drift_has_an_action_of_its_own(write: Write) -> None:
    kinds = catalog.DriftKind
    found = table(
        write(hr=HEAD + f"  employee: {{drift: {{{', '.join(f'{kind}: block' for kind in kinds)}}}}}\n")
    )
    assert found.drift == dict.fromkeys(kinds, "block")


@pytest.mark.parametrize(
    ("declared", "problem"),
    [
        (
            "employee: {history: true}, employee_history: ",
            "employee: its history is kept in employee_history",
        ),
        (f"{'e' * 60}: {{history: true}}", "the name is longer than 55 bytes"),
        ("employee: {history: true, columns: {_valid_to: }}", "_valid_to: the warehouse adds a column"),
        ("employee: {columns: {a: {type: int}}}", "columns.a.type: must be text"),
        ("employee: {columns: {a: {accepted: []}}}", "columns.a.accepted: is empty"),
        ("employee: {columns: {a: {accepted: {value: [1], values: [1]}}}}", "accepted.value: unknown key"),
        ("employee: {columns: {a: {range: {min: 5, max: 1}}}}", "columns.a.range: min is more than max"),
        ("employee: {columns: {a: {null_rate: 120%}}}", "columns.a.null_rate: is more than 100%"),
        ("employee: {columns: {a: {mask: hash, range: {min: 1}}}}", "range: mask: hash leaves hashes"),
        ("employee: {columns: {a: {mask: hash, accepted: [1]}}}", "accepted: mask: hash leaves hashes"),
        (
            "employee: {columns: {a: {mask: exclude, null_rate: 0%}}}",
            "null_rate: mask: exclude leaves nothing",
        ),
        (
            "employee: {columns: {a: {mask: null}}, checks: [unique: [a]]}",
            "checks[0]: mask: null leaves nothing",
        ),
        (
            "employee: {columns: {a: {mask: hash}}, checks: [freshness: {column: a, max_age: 1 day}]}",
            "checks[0]: mask: hash leaves no time in a",
        ),
        (
            "employee: {changes: cursor, cursor: a, columns: {a: {mask: hash}}}",
            "columns.a.mask: a is the cursor",
        ),
        (
            "a: {columns: {x: {mask: hash}}, checks: [relationship: {columns: x, to: b, to_columns: y}]}, "
            "b: ",
            "checks[0].relationship: only one of x and b.y is hashed",
        ),
        (
            "a: {checks: [relationship: {columns: x, to: b, to_columns: y}]}, "
            "b: {columns: {y: {mask: exclude}}}",
            "relationship.to_columns: mask: exclude leaves nothing of b.y",
        ),
        (
            "a: {checks: [{rows: {min: 1}, quarantine: rows}]}",
            "checks[0].quarantine: rows does not check single rows",
        ),
    ],
)
def test_what_cannot_hold_together_is_told(write: Write, declared: str, problem: str) -> None:
    """Each would fail at night, or worse, pass and mean nothing."""
    told = problems(write(hr=f"source: hr\ntables: {{{declared}}}\n"))
    assert len(told) == 1, told
    assert told[0].startswith("sources/hr.yaml:2: ")
    assert problem in told[0]


def test_hashed_columns_may_be_compared_with_hashed_ones(write: Write) -> None:
    """The hash is the same for the same value, so that keys and relationships go on working."""
    table(
        write(
            hr=HEAD
            + """\
  person: {key: id, columns: {id: {mask: hash}}, checks: [unique: [id]]}
  employee:
    columns: {person: {mask: hash}}
    checks: [relationship: {columns: person, to: person, to_columns: id}]
"""
        )
    )


def test_tables_of_two_sources_do_not_share_a_quarantine(write: Write) -> None:
    """Both a.b_c and a_b.c would be quarantine.a_b_c."""
    told = problems(
        write(hr="source: hr\ntables: {old_staff: }\n", hr_old="source: hr_old\ntables: {staff: }\n")
    )
    assert told == [
        "sources/hr_old.yaml:2: tables.staff: quarantine.hr_old_staff belongs to hr.old_staff already; "
        "give it another name, and table: its own"
    ]


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        ("a: {drift: {mask: ignore}}", "ignoring a mask would leave the values that it hides"),
        ("a: {drift: {widened: ignore}}", "ignoring the wider type would round or refuse values"),
        (
            "a: {checks: [{relationship: {columns: [x], to: b, to_columns: [x]}}]}\n"
            "  b: {checks: [{relationship: {columns: [x], to: a, to_columns: [x]}}]}",
            "its relationships lead back to this table",
        ),
    ],
)
def test_what_could_only_go_wrong_is_refused(tmp_path: Path, tables: str, told: str) -> None:
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "shop.yaml").write_text(f"source: shop\ntables:\n  {tables}\n")
    with pytest.raises(ProblemsError, match=told):
        catalog.read(tmp_path)


def test_a_wrong_word_beside_a_check_is_told_at_its_own_key_and_line(write: Write) -> None:
    """The check's key is the tag of a union, and in the file as well: the mistake is not there."""
    text = """\
source: hr
tables:
  employee:
    checks:
      - unique: [staff_number]
        quarantine: row
      - freshness: {column: updated_at}
        level: wran
"""
    assert problems(write(hr=text)) == [
        "sources/hr.yaml:6: tables.employee.checks[0].quarantine: must be hold or rows; did you mean rows?",
        "sources/hr.yaml:7: tables.employee.checks[1].freshness.max_age: missing; write it here",
        "sources/hr.yaml:8: tables.employee.checks[1].level: must be error or warn; did you mean warn?",
    ]
