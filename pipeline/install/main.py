"""bin/install: everything that one machine without Nomad needs, once or again; and all of it away."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from pipeline import redact, settings
from pipeline.chains import jobs
from pipeline.chains.jobs import Job
from pipeline.cli import output, terminal
from pipeline.errors import CheckError, PipelineError, ProblemsError
from pipeline.install import clock, release
from pipeline.install.clock import Clock
from pipeline.install.layout import USER, Layout
from pipeline.install.machine import Machine, missing

# What a Debian may lack: the program, and its package.
PROGRAMS = {
    "gpg": "gpg",
    "gpg-agent": "gpg-agent",
    "git": "git",
    "flock": "util-linux",
    "runuser": "util-linux",
    "useradd": "passwd",
}
CLOCKS = {Clock.CRON: ("cron", "cron"), Clock.SYSTEMD: ("systemctl", "systemd")}
TEMPLATE = {
    "url = ${VAULT_ADDR}": "url = https://vault.example.org:8200",
    "auth = token": "auth = approle",
    "# role =\n# credential_file = ${NOMAD_SECRETS_DIR}/nomad_vault.jwt": (
        "role = THE-ROLE-ID\ncredential_file = %s/secret-id"
    ),
}
UNTOUCHED = "THE-ROLE-ID"


def main(arguments: Sequence[str]) -> int:
    """Do it. Return 0 once the machine is as it should be, or with --plan 4 if it is not."""
    parser = argparse.ArgumentParser(
        prog="bin/install",
        description="Make this machine run the pipeline without Nomad: user, folders, release, settings, and "
        "a unit or crontab line for each job of luigi.cfg. Prints each change; run it again at any time, for "
        "instance after a change of luigi.cfg, or with another release. See docs/install.md.",
        epilog="exit codes: 0 done; 2 something is missing or wrong; 3 failed; 4 with --plan: would change",
    )
    parser.add_argument("--plan", action="store_true", help="only print the changes; 4 if there are any")
    parser.add_argument(
        "--clock",
        choices=list(Clock),
        help="cron or systemd starts the jobs (default: as before, or systemd where it runs)",
    )
    parser.add_argument("--release", type=Path, metavar="FILE", help="(default: the newest in dist/)")
    parser.add_argument("--uninstall", action="store_true", help="stop and remove it; its data stays")
    parser.add_argument(
        "--root",
        type=Path,
        default=Path("/"),
        metavar="FOLDER",
        help="for trials: install only the files, below this folder, and create no user",
    )
    parsed = parser.parse_args(arguments)
    redact.install()
    output.outlive_the_reader()
    try:
        return _run(parsed)
    except PipelineError as error:
        sys.stderr.write(f"install: {error}\n")
        return error.exit_code


def _run(parsed: argparse.Namespace) -> int:
    layout = Layout(parsed.root)
    real = parsed.root == Path("/")
    machine = Machine(real=real, plan=parsed.plan)
    kind = Clock(parsed.clock) if parsed.clock else clock.known(layout)
    if real:
        _require(layout, kind, plan=parsed.plan)
    if parsed.uninstall:
        clock.away(machine, layout)
        machine.gone(layout.opt)
        terminal.print_text(
            f"kept: {layout.etc}, {layout.state} and the user {USER}; to remove them as well: "
            f"rm -r {layout.etc} {layout.state} && userdel {USER}"
        )
    else:
        _install(machine, layout, kind, parsed.release)
    if not machine.changes:
        terminal.print_text("nothing to change")
    return CheckError.exit_code if parsed.plan and machine.changes else 0


def _install(machine: Machine, layout: Layout, kind: Clock, file: Path) -> None:
    machine.user(layout.state)
    for folder in (layout.etc, layout.state):
        machine.folder(folder, private=True)
    is_other = release.put(machine, layout, file)
    machine.file(layout.clock, f"{kind}\n".encode(), mode=0o644)
    if not layout.settings.exists():
        machine.file(layout.settings, _template(layout), mode=0o600, owner=USER)
    wanted = _wanted(layout)
    if wanted is None:
        terminal.print_text(f"next: write your settings into {layout.settings}, then run bin/install again")
        return
    clock.set_up(machine, layout, kind, wanted, anew=is_other)


def _wanted(layout: Layout) -> list[Job] | None:
    """Return the jobs that the settings ask for; None while they are the example."""
    if not layout.settings.exists() or UNTOUCHED in layout.settings.read_text(encoding="utf-8"):
        return None
    return jobs.wanted(settings.read([layout.settings]))


def _template(layout: Layout) -> bytes:
    text = resources.files("pipeline").joinpath("data", "luigi.cfg").read_text(encoding="utf-8")
    for ours, theirs in TEMPLATE.items():
        text = text.replace(ours, theirs.replace("%s", str(layout.etc)), 1)
    return text.encode()


def _require(layout: Layout, kind: Clock, *, plan: bool) -> None:
    """Raise ProblemsError with all that is missing."""
    program, package = CLOCKS[kind]
    packages = {**PROGRAMS, program: package}
    problems = []
    if absent := missing(list(packages)):
        names = sorted({packages[name] for name in absent})
        problems.append(f"missing: {', '.join(absent)}; type: apt-get install {' '.join(names)}")
    closed = layout.etc.exists() and not os.access(layout.etc, os.R_OK | os.X_OK)
    if os.geteuid() != 0 and not plan:
        problems.append("it creates a user and writes to /etc and /opt: run it as root")
    elif os.geteuid() != 0 and closed:
        problems.append(
            f"{layout.etc} cannot be read by this user, and its luigi.cfg decides what would change: "
            "run it as root"
        )
    offsets = [time.localtime(half_year * 15_778_800).tm_gmtoff for half_year in (112, 113)]
    if kind == Clock.CRON and any(offsets):
        problems.append(
            "cron uses this machine's time zone, which is not UTC; type: ln -sf "
            "/usr/share/zoneinfo/Etc/UTC /etc/localtime (and restart cron), or use --clock systemd"
        )
    if problems:
        raise ProblemsError(problems)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
