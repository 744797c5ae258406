"""bin/install, as far as it goes without root: the files of a machine, in a tree of folders."""

import os
import re
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.chains import DUTIES
from pipeline.errors import ProblemsError
from pipeline.install import main, units
from pipeline.install.clock import Clock
from pipeline.install.layout import Layout
from pipeline.sandbox.home import PROJECT

SETTINGS = """\
[vault]
url = http://127.0.0.1:8200
auth = approle
role = some-role
credential_file = secret-id
[warehouse]
secret = warehouse
[visualizer]
secret = scheduler
[analysts]
checkout = /var/lib/pipeline/analysts
[backup]
bucket = backups
secret = b2/writer
recipients = one.asc, two.asc
[restore]
secret = restore/b2
key_secret = restore/key
[drill]
secret = drill
[database.hr]
secret = database/hr
[database.records]
secret = database/records
[database.service_desk]
secret = database/service_desk
"""


@dataclass
class Tree:
    """A machine's folders, and what bin/install does to them."""

    layout: Layout
    release: Path
    capsys: pytest.CaptureFixture[str]

    def install(self, *arguments: str) -> tuple[int, list[str]]:
        """Run it; return its exit code and what it said."""
        self.capsys.readouterr()
        code = main.main(["--root", str(self.layout.root), "--release", str(self.release), *arguments])
        return code, self.capsys.readouterr().out.splitlines()

    def declare(self, text: str) -> None:
        self.layout.settings.write_text(text)

    def clocks(self) -> set[str]:
        """Return the names of the files that start something."""
        made = [self.layout.crontab, *self.layout.units.glob("*")]
        return {path.name for path in made if path.is_file()}

    def everything(self) -> dict[str, bytes]:
        files = [path for path in self.layout.root.rglob("*") if path.is_file()]
        return {str(path): path.read_bytes() for path in files}


@pytest.fixture
def tree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Tree:
    release = tmp_path / "pipeline-0.1.0-abc.pex"
    release.write_text("#!/bin/sh\n")
    made = Tree(Layout(tmp_path / "root"), release, capsys)
    made.layout.root.mkdir()
    return made


@pytest.fixture
def installed(tree: Tree) -> Tree:
    """A machine whose settings name everything."""
    assert tree.install("--clock", "cron")[0] == 0
    tree.declare(SETTINGS)
    return tree


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_plan_says_what_would_be_and_does_nothing(tree: Tree) -> None:
    code, said = tree.install("--clock", "cron", "--plan")
    assert code == 4
    assert any(line.endswith("etc/pipeline (0700, pipeline)") for line in said)
    assert list(tree.layout.root.iterdir()) == []


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        (
            True,
            [
                "{etc} cannot be read by this user, and its luigi.cfg decides what would change: run it "
                "as root"
            ],
        ),
        (False, ["it creates a user and writes to /etc and /opt: run it as root"]),
    ],
)
def test_who_is_not_root_is_told_why_it_takes_root(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, plan: bool, told: list[str]
) -> None:
    """A plan writes nothing, and is for everybody until there are settings that only root may read."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr(main, "missing", lambda _programs: [])
    if plan:
        main._require(tree.layout, Clock.CRON, plan=True)
    tree.layout.etc.mkdir(parents=True)
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(ProblemsError) as raised:
        main._require(tree.layout, Clock.CRON, plan=plan)
    assert list(raised.value.problems) == [line.format(etc=tree.layout.etc) for line in told]


def test_a_second_time_changes_nothing_and_never_the_settings(installed: Tree) -> None:
    assert installed.install("--clock", "cron")[0] == 0
    before = installed.everything()
    assert installed.install() == (0, ["nothing to change"])
    assert installed.install("--plan") == (0, ["nothing to change"])
    assert installed.everything() == before
    assert installed.layout.settings.read_text() == SETTINGS


@pytest.mark.parametrize("clock", ["cron", "systemd"])
def test_the_clock_that_was_chosen_at_first_is_the_one_that_is_set_later(tree: Tree, clock: str) -> None:
    tree.install("--clock", clock)
    tree.declare(SETTINGS)
    tree.install()
    assert ("pipeline" in tree.clocks(), "pipeline-etl.timer" in tree.clocks()) == (
        clock == "cron",
        clock == "systemd",
    )


def test_what_others_may_not_read_is_closed_again(installed: Tree) -> None:
    layout = installed.layout
    assert (mode(layout.etc), mode(layout.state)) == (0o700, 0o700)
    layout.etc.chmod(0o755)
    installed.install()
    assert mode(layout.etc) == 0o700


def test_the_settings_begin_as_the_example_that_asks_to_be_edited(tree: Tree) -> None:
    code, said = tree.install("--clock", "cron")
    assert (code, said[-1][:25]) == (0, "next: write your settings")
    text = tree.layout.settings.read_text()
    assert f"role = THE-ROLE-ID\ncredential_file = {tree.layout.etc}/secret-id\n" in text
    assert "VAULT_ADDR" not in text
    assert mode(tree.layout.settings) == 0o600
    assert tree.clocks() == set()


def test_wrong_settings_are_told_and_no_clock_is_set(
    installed: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    installed.declare(SETTINGS.replace("bucket =", "bukcet ="))
    assert main.main(["--root", str(installed.layout.root), "--release", str(installed.release)]) == 2
    assert "bukcet" in capsys.readouterr().err
    assert installed.clocks() == set()


def test_cron_gets_the_lines_of_the_documented_crontab_and_the_services(installed: Tree) -> None:
    assert installed.install("--clock", "cron")[0] == 0
    lines = [re.split(r"\s+", line) for line in installed.layout.crontab.read_text().splitlines()]
    jobs = {" ".join([*line[:5], *line[6:]]) for line in lines if re.match(r"[\d*]", line[0])}
    documented = (PROJECT / "docs/crontab").read_text().splitlines()
    shown = {" ".join(line.split()) for line in documented if re.match(r"[\d*]", line)}
    services = {line for line in jobs if line.startswith("* * * * * flock")}
    assert jobs - services == shown
    assert len(services) == sum(duty.kind == "service" and not duty.foreign for duty in DUTIES)
    assert not re.search(r"(?<!\\)%", installed.layout.crontab.read_text()), "cron takes it for a line's end"


@pytest.mark.parametrize("clock", ["cron", "systemd"])
def test_what_pgbackrest_has_is_drilled_by_a_clock_of_its_own_where_a_database_names_it(
    installed: Tree, clock: str
) -> None:
    command = "pipeline-cron --lock archive-drill --timeout 13h"
    commented = [
        line.removeprefix("#")
        for line in (PROJECT / "docs/crontab").read_text().splitlines()
        if line.startswith("#") and command in line
    ]
    for stanza in (True, False):
        installed.declare(SETTINGS + ("pgbackrest = main\n" if stanza else ""))
        assert installed.install("--clock", clock)[0] == 0
        if clock == "cron":
            lines = [re.split(r"\s+", line) for line in installed.layout.crontab.read_text().splitlines()]
            found = [" ".join([*line[:5], *line[6:]]) for line in lines if "archive-drill" in line]
            assert found == ([" ".join(line.split()) for line in commented] if stanza else [])
            continue
        units = {f"pipeline-archive-drill.{kind}" for kind in ("service", "timer")}
        assert units & installed.clocks() == (units if stanza else set())
        if stanza:
            service = (installed.layout.units / "pipeline-archive-drill.service").read_text()
            assert f"{command} " in service
            assert "/pipeline run drill --from pgbackrest\n" in service
            timer = (installed.layout.units / "pipeline-archive-drill.timer").read_text()
            assert "OnCalendar=*-*-* 06:30:00 UTC\nAccuracySec=1s\nPersistent=true\n" in timer


def test_systemd_gets_units_that_it_understands(installed: Tree) -> None:
    assert installed.install("--clock", "systemd")[0] == 0
    made = installed.clocks()
    for name in ("pipeline-etl.timer", "pipeline-etl.service", "pipeline-backup-records.timer"):
        assert name in made
    assert {name for name in made if name.startswith("pipeline-scheduler")} == {"pipeline-scheduler.service"}
    if program := shutil.which("systemd-analyze"):
        files = [str(installed.layout.units / name) for name in sorted(made)]
        done = subprocess.run(
            [program, "verify", "--man=no", *files], capture_output=True, text=True, check=False
        )
        ours = [line for line in done.stderr.splitlines() if "pipeline" in line]
        assert ours == []


@pytest.mark.parametrize("schedule", [duty.schedule for duty in DUTIES if duty.schedule])
def test_a_time_is_understood_by_systemd(schedule: str) -> None:
    said = units.calendar(schedule)
    assert said.endswith(":00 UTC")
    if program := shutil.which("systemd-analyze"):
        subprocess.run([program, "calendar", said], capture_output=True, check=True)


def test_a_unit_that_is_no_longer_enabled_is_told_and_enabled(installed: Tree) -> None:
    """Else "nothing to change" would be said of a machine on which nothing begins after its next start."""
    installed.install("--clock", "systemd")
    link = installed.layout.units / "timers.target.wants" / "pipeline-etl.timer"
    link.unlink()
    told = f": {link} -> /etc/systemd/system/pipeline-etl.timer"
    assert installed.install("--plan") == (4, ["would change" + told])
    assert installed.install() == (0, ["changed" + told])
    assert installed.install() == (0, ["nothing to change"])
    if program := shutil.which("systemctl"):
        asked = [program, f"--root={installed.layout.root}", "is-enabled", "pipeline-etl.timer"]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        assert (done.stdout, done.stderr) == ("enabled\n", "")
    installed.install("--clock", "cron")
    assert list(installed.layout.units.glob("*.wants/pipeline-*")) == []


def test_a_link_that_was_put_where_a_file_is_written_leads_root_nowhere(installed: Tree) -> None:
    """Its settings' folder is the pipeline's own, and root writes there."""
    installed.install("--clock", "cron")
    elsewhere = installed.layout.root / "elsewhere"
    elsewhere.write_text("as it was")
    for name in (".luigi.cfg.partial", "luigi.cfg.partial", f"luigi.cfg.{os.getpid()}.partial"):
        (installed.layout.etc / name).symlink_to(elsewhere)
    installed.layout.settings.unlink()
    installed.install()
    assert elsewhere.read_text() == "as it was"
    assert "THE-ROLE-ID" in installed.layout.settings.read_text()


def test_there_is_one_clock_and_the_one_before_is_taken_away(installed: Tree) -> None:
    installed.install("--clock", "cron")
    assert installed.clocks() == {"pipeline"}
    installed.install("--clock", "systemd")
    assert "pipeline" not in installed.clocks()
    assert installed.install() == (0, ["nothing to change"])
    (installed.layout.units / "pipeline-of-somebody.service").write_text("[Unit]\n")
    installed.install("--clock", "cron")
    assert installed.clocks() == {"pipeline", "pipeline-of-somebody.service"}


@pytest.mark.parametrize("clock", ["cron", "systemd"])
def test_a_database_that_is_gone_from_the_settings_has_no_job(installed: Tree, clock: str) -> None:
    installed.install("--clock", clock)
    files = [installed.layout.crontab, *installed.layout.units.glob("*")]
    assert any("run backup records" in path.read_text() for path in files if path.is_file())
    installed.declare(SETTINGS.replace("[database.records]\nsecret = database/records\n", ""))
    installed.install()
    files = [installed.layout.crontab, *installed.layout.units.glob("*")]
    assert not any("run backup records" in path.read_text() for path in files if path.is_file())


def test_another_release_counts_at_once_and_the_earlier_one_stays_for_a_rollback(installed: Tree) -> None:
    installed.install("--clock", "cron")
    first = installed.layout.bin.readlink()
    other = installed.release.with_name("pipeline-0.2.0-def.pex")
    other.write_text("#!/bin/sh\n: another\n")
    installed.install("--release", str(other))
    assert installed.layout.bin.readlink() == Path("releases/0.2.0-def")
    kept = installed.layout.releases / "0.1.0-abc" / "pipeline-0.1.0-abc.pex"
    installed.install("--release", str(kept))
    assert installed.layout.bin.readlink() == first


def test_uninstalled_leaves_what_it_has_kept_and_says_how_to_remove_it(installed: Tree) -> None:
    installed.install("--clock", "systemd")
    code, said = installed.install("--uninstall")
    assert code == 0
    assert "userdel pipeline" in said[-1]
    assert installed.clocks() == set()
    assert not installed.layout.opt.exists()
    assert installed.layout.settings.exists()


def test_what_is_no_release_is_refused(tree: Tree) -> None:
    assert main.main(["--root", str(tree.layout.root), "--release", str(tree.layout.root / "none.pex")]) == 2
    assert list(tree.layout.root.glob("opt/*")) == []
