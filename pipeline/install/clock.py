"""What starts the jobs: cron or systemd, and never both."""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

from pipeline.chains import DUTIES, DutyKind
from pipeline.chains.jobs import PREFIX, Job
from pipeline.install import crontab, units
from pipeline.install.layout import MARK, Layout
from pipeline.install.machine import Machine


class Clock(StrEnum):
    """What starts the jobs of a machine."""

    CRON = "cron"
    SYSTEMD = "systemd"


SERVICES = {duty.name for duty in DUTIES if duty.kind == DutyKind.SERVICE and not duty.foreign}


def known(layout: Layout) -> Clock:
    """Return what is to start the jobs here: what was chosen before, else what the machine has."""
    if layout.clock.exists():
        return Clock(layout.clock.read_text(encoding="utf-8").strip())
    return Clock.SYSTEMD if _runs() else Clock.CRON


def set_up(machine: Machine, layout: Layout, kind: Clock, wanted: Sequence[Job], *, anew: bool) -> None:
    """Let `kind` start the jobs, and the other none; with `anew` services change to the new release."""
    if kind == Clock.CRON:
        _units_away(machine, layout, ())
        machine.file(layout.crontab, crontab.render(wanted, layout).encode(), mode=0o644)
        if anew:
            _end_services(machine, layout)
        return
    machine.gone(layout.crontab)
    _end_services(machine, layout)
    texts = units.render(wanted, layout)
    _units_away(machine, layout, tuple(texts))
    changed = [
        name for name, text in texts.items() if machine.file(layout.units / name, text.encode(), mode=0o644)
    ]
    begun = units.begun(wanted)
    # As `systemctl enable` does, also where no systemd runs: then this too is told, and fixed if it is gone.
    there = "/" / layout.units.relative_to(layout.root)
    enabled = [machine.link(units.enabled_by(layout, name, texts[name]), there / name) for name in begun]
    if (changed or any(enabled)) and _runs():
        machine.run("systemctl", "daemon-reload")
    if _runs():
        # One that goes on is left alone, unless it is another now.
        again = [name for name in begun if name in changed or (anew and name.endswith(".service"))]
        for name in (*again, *(name for name in begun if name not in again)):
            machine.run("systemctl", "restart" if name in again else "start", "--no-block", name)


def away(machine: Machine, layout: Layout) -> None:
    """Let nothing start the jobs, and end the services."""
    machine.gone(layout.crontab)
    _end_services(machine, layout)
    _units_away(machine, layout, ())


def _runs() -> bool:
    return Path("/run/systemd/system").is_dir()


def _ours(layout: Layout) -> Iterator[Path]:
    """Yield the units that we have written."""
    for path in sorted(layout.units.glob(f"{PREFIX}*")):
        if path.is_file() and path.read_text(encoding="utf-8").startswith(MARK):
            yield path


def _units_away(machine: Machine, layout: Layout, but: Sequence[str]) -> None:
    for path in _ours(layout):
        if path.name not in but:
            if _runs():
                machine.run("systemctl", "stop", path.name)
            for link in layout.units.glob("*.wants/*"):
                if link.name == path.name:
                    machine.gone(link)
            machine.gone(path)


def _end_services(machine: Machine, layout: Layout) -> None:
    """End the services that cron has started, as their wrapper's lock tells; cron starts them again."""
    for path in (layout.state / "cron").glob("*.lock"):
        written = path.read_text(encoding="utf-8", errors="replace")
        if path.stem in SERVICES and (match := re.search(r"\(process (\d+)\)", written)):
            with suppress(OSError):
                if b"pipeline-cron" in Path(f"/proc/{match[1]}/cmdline").read_bytes():
                    machine.end(int(match[1]), path.stem)
