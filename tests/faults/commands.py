"""What people and clocks start beside the chains: audit, watch, report, sync and restore; a world of each."""

import contextlib
import itertools
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.faults.archives import DATABASE, TABLES, Archives
from tests.faults.loads import SOURCE, Loads
from tests.support.hooks import Hook
from tests.support.night import Night, next_run
from tests.support.restores import Restores

GIT = shutil.which("git") or "git"
CARDS = """\
title: Payments
cards:
  - {title: Paid, chart: number, mart: paid, measures: sum(paid)}
"""


class Audits(Loads):
    """Audits of all its tables."""

    tells = False

    def begin(self) -> Sequence[str]:
        """Return the command."""
        return ["audit", SOURCE]

    def differences(self) -> list[str]:
        """Return what is not as it was, and which tables were not proved equal."""
        proved = self.night.ask("warehouse", "SELECT source || '.' || table_name FROM ops.audit")
        missing = [f"{SOURCE}.{name}" for name in self.tables if (f"{SOURCE}.{name}",) not in proved]
        return [*super().differences(), *(f"{name} was not proved" for name in missing)]


class Watches(Loads):
    """Looks at all of it by watch, which finds that there are no backups."""

    good: tuple[int, ...] = (4,)
    done: tuple[int, ...] = (4,)
    tells = False

    def begin(self) -> Sequence[str]:
        """Return the command."""
        return ["watch"]

    def differences(self) -> list[str]:
        """Return what was told more than once, or not at all."""
        told = self.hook.received()
        # What was over in between is news again.
        kinds: dict[str, list[str]] = {}
        for kind, key in told:
            kinds.setdefault(key, []).append(kind)
        twice = [
            f"told twice: {key}: {one}"
            for key, found in kinds.items()
            for one, following in itertools.pairwise(found)
            if one == following
        ]
        return [*super().differences(), *twice, *([] if told else ["nothing was told"])]

    def remains(self) -> list[str]:
        """Return what is left. What was told stays so until it is over."""
        return [one for one in super().remains() if not one.startswith("an alert that nobody took back")]


class Reports(Loads):
    """Pages of its one dashboard."""

    tells = False

    def __init__(self, night: Night, hook: Hook) -> None:
        super().__init__(night, hook)
        boards = self.platform.analysts / "dashboards"
        boards.mkdir()
        (boards / "payments.yaml").write_text(CARDS)
        self.out = self.folder / "report"

    def begin(self) -> Sequence[str]:
        """Return the command."""
        return ["report", "--out", str(self.out)]

    def differences(self) -> list[str]:
        """Return what is wrong with the page."""
        page = self.out / "index.html"
        whole = page.exists() and page.read_text().rstrip().endswith("</html>")
        beside = [f"beside the page: {one.name}" for one in self.out.iterdir() if one != page]
        return [*super().differences(), *beside, *([] if whole else ["the page is not whole"])]


class Syncs(Loads):
    """Syncs of what its analysts push, which the next night goes by."""

    tells = False

    def __init__(self, night: Night, hook: Hook) -> None:
        super().__init__(night, hook)
        self.work, remote = self.folder / "work", self.folder / "remote.git"
        self.platform.analysts.rename(self.work)
        self._git("init", "--quiet", "--bare", str(remote), where=self.folder)
        self._git("init", "--quiet", "--initial-branch=main")
        self._git("remote", "add", "origin", str(remote))
        self.platform.more["analysts"] = {
            "checkout": str(self.platform.analysts),
            "repository": f"file://{remote}",
        }
        self.platform.write_settings()
        self.commit = ""

    def _git(self, *words: str, where: Path | None = None) -> str:
        told = ["-c", "user.name=an analyst", "-c", "user.email=analyst@test.invalid"]
        return subprocess.run(
            [GIT, *told, *words], cwd=where or self.work, check=True, capture_output=True, text=True
        ).stdout.strip()

    def begin(self) -> Sequence[str]:
        """Push something; return the command."""
        (self.work / "README").write_text(next_run())
        self._git("add", "--all")
        self._git("commit", "--quiet", "-m", "a change")
        self._git("push", "--quiet", "origin", "HEAD:main")
        self.commit = self._git("rev-parse", "HEAD")
        return ["sync"]

    def differences(self) -> list[str]:
        """Return how what the next night goes by is not what was pushed."""
        there = self.platform.analysts
        pushed = {name: self._git("show", f"HEAD:{name}") for name in self._git("ls-files").splitlines()}
        ours = {
            str(path.relative_to(there)): path.read_text().strip()
            for path in there.rglob("*")
            if path.is_file() and not path.name.startswith(".")
        }
        return [] if ours == pushed else [f"we have {ours}, not {pushed}"]

    def remains(self) -> list[str]:
        """Return what is left, also of versions by which nobody goes."""
        versions = [one for one in self.platform.analysts.resolve().parent.iterdir() if one.is_dir()]
        others = [f"a version: {one.name}" for one in versions if one.name != self.commit]
        links = [f"a link: {one}" for one in self.folder.glob(".*.new")]
        return [*super().remains(), *others, *links]


class Restored(Archives):
    """Restores of one backup into new databases, which are not written over."""

    done: tuple[int, ...] = (2,)
    tells = False

    def __init__(self, restores: Restores, hook: Hook) -> None:
        super().__init__(restores, hook)
        self.change()
        restores.back_up(DATABASE, self.run)
        self.into = ""

    def begin(self) -> Sequence[str]:
        """Return the command."""
        self.into = self.restores.name(f"r{next(self._serials)}")
        return ["restore", DATABASE, "--into-new", self.into]

    def differences(self) -> list[str]:
        """Return the tables that are not what they are in the database, and remove what was restored."""
        found = []
        for table, columns in TABLES.items():
            query = f"SELECT {columns} FROM {table} ORDER BY 1"
            with self.platform.connect(DATABASE) as connection, connection.cursor() as cursor:
                cursor.execute(query)
                wanted = cursor.fetchall()
            restored = self.restores.ask(self.into, query)
            if restored != wanted:
                found.append(f"{table}: restored {restored}, not {wanted}")
        with self.restores.connect("postgres") as server, server.cursor() as cursor:
            cursor.execute(f"DROP DATABASE {self.into} WITH (FORCE)")
            for role in self.restores.roles():
                with contextlib.suppress(Exception):
                    cursor.execute(f'DROP ROLE "{role}"')
        return found
