"""What is told of a failure: the same alert, under the same key, whoever of us notices it first."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline import chains, outage
from pipeline.alerts import hints
from pipeline.alerts.message import Alert, Kind, one_line
from pipeline.chains import Subject
from pipeline.errors import Outage, PipelineError
from pipeline.scheduler import links
from pipeline.settings import Settings

# The last line of a traceback, in what a program has written.
_EXCEPTION = re.compile(r"(?:[\w.]+\.)?[A-Z]\w*(?:Error|Exception|Exit|Interrupt|Missing\w*|Expired)\b.*")
# The keys of alerts about public keys begin so, whoever looks at them; then follows the name of the file.
KEYS = "watch/key/"
# And those about copies of backups; then follows the database.
KEPT = "watch/kept/"
# And those about a server's own archive of WAL.
ARCHIVING = "watch/archiving/"
# A message of more lines than this has somebody's log in it.
FEW_LINES = 3


@dataclass(frozen=True)
class AlertSubject(Subject):
    """Something that can fail, as chains declares it, and the alerts that say so."""

    @classmethod
    def of(cls, subject: Subject) -> "AlertSubject":
        """Return what chains calls so."""
        return cls(**vars(subject))

    def alert(
        self, summary: str, error: BaseException | str | None = None, *, kind: Kind = Kind.FAILED
    ) -> Alert:
        """Return the alert that says so of this thing."""
        return Alert(
            key=self.key,
            kind=kind,
            summary=f"{self.name}: {summary}",
            error=_error_line(error),
            run=self.run,
            hint=getattr(error, "hint", None) or None,
            command=self.command,
        )

    def failed(
        self,
        task: str,
        error: BaseException | str | None,
        exit_code: int | None = None,
        hint: str | None = None,
        again: str | None = None,
    ) -> Alert:
        """Return the alert that one of its tasks failed, with what to do about such an error."""
        alert = self.alert(f"{task} failed", error)
        hint = alert.hint or hint
        more: dict[str, str | None] = {"task": task, "hint": hint and one_line(hint)}
        if self.run and self.steps_of:
            code, again = getattr(error, "exit_code", exit_code), getattr(error, "again", None) or again
            what = hints.find(self.run, task, self.steps_of, code, hint, again)
            more |= {"command": what.command, "hint": one_line(what.before) or None}
        return alert.model_copy(update=more)


def linked(settings: Settings, alert: Alert, family: str, parameters: Mapping[str, str]) -> Alert:
    """Return an alert with links to the Luigi task of that family and those parameters, and to its log."""
    urls = {
        "task_url": links.task_url(settings, family, parameters),
        "log_url": links.log_url(settings, family, parameters),
    }
    return alert.model_copy(update=urls)


def load(run: str | None, source: str | None = None, tables: Sequence[str] = ()) -> AlertSubject:
    """Return a whole load, or one of a source or of some of its tables alone.

    >>> load("2026-11-22").key, load("2026-11-22", "hr").key
    ('run/etl', 'run/etl/hr')
    >>> load("2026-11-22", "hr", ["a", "b"]).command
    'pipeline run etl --source hr --table a --table b --run 2026-11-22'
    """
    return AlertSubject.of(chains.ETL.whole(run, source, tables))


def drills(month: str | None, database: str | None = None) -> AlertSubject:
    """Return the drills of a month, or that of one database as it was started alone."""
    return AlertSubject.of(chains.DRILL.whole(month, database))


def archive_drills(month: str | None, database: str | None = None) -> AlertSubject:
    """Return the drills of what pgBackRest has, in a month: of each database that has that, or of one.

    >>> archive_drills("2026-11").key, archive_drills("2026-11").command
    ('run/archive-drill', 'pipeline run drill --month 2026-11 --from pgbackrest')
    """
    if database:
        return archive_drill(database, month)
    origin = f"--from {chains.RECOVERED.aspect}"
    name = " ".join(word for word in ("run", chains.DRILL.name, origin, month) if word)
    return AlertSubject(f"run/{chains.ARCHIVE_DRILL}", name, f"{chains.DRILL.command(month)} {origin}", month)


def table(source: str, name: str, run: str) -> AlertSubject:
    """Return a table of a source, in a run."""
    return AlertSubject.of(chains.ETL.part(chains.TABLE, f"{source}.{name}", run))


def source(name: str, run: str) -> AlertSubject:
    """Return a source, in a run."""
    return AlertSubject.of(chains.ETL.part(chains.SOURCE, name, run))


def out_of_reach(
    error: str | None,
    unreachable: Outage,
    run: str,
    names: Sequence[str],
    task: str,
    exit_code: int | None = None,
    hint: str | None = None,
) -> Alert:
    """Return the alert that by `error` a server is out of reach, and the tables in `names` wait for it.

    It is one of the source, or else of the run, whichever of them failed first. Several sources may be on
    that server.
    """
    subject = server(unreachable, run)
    who = "" if unreachable.source else f"{unreachable.server} is "
    sources = sorted({name.partition(".")[0] for name in names}) if unreachable.source else []
    several = f"sources {outage.few(sources)}, all on {unreachable.address}"
    summary = f"{several if len(sources) > 1 else subject.name}: {who}out of reach"
    if names:
        are = f"{len(names)} tables are" if len(names) > 1 else "1 table is"
        summary += f"; because of that, {are} not loaded: {outage.few(names)}"
    alert = subject.failed(task, outage.error_of(error, unreachable), exit_code, hint)
    if len(sources) > 1:
        alert = alert.model_copy(update={"command": hints.of_run(run, chains.ETL.name).command})
    return alert.model_copy(update={"summary": one_line(summary), "server": one_line(unreachable.place)})


def known(unreachable: Outage, run: str, opened: Sequence[Alert]) -> Alert | None:
    """Return which of the open alerts says already that this server is out of reach in this run."""
    place = one_line(unreachable.place)
    return next((alert for alert in opened if alert.run == run and alert.server == place), None)


def server(unreachable: Outage, run: str) -> AlertSubject:
    """Return what fails with a server: its source, or the whole load."""
    return source(unreachable.source, run) if unreachable.source else load(run)


def loaded(name: str, run: str) -> AlertSubject:
    """Return a table, a source or a mart, by the name that the ledger has for it.

    >>> loaded("hr.employee", "2026-11-22").key, loaded("hr", "2026-11-22").key
    ('etl/hr.employee', 'etl/hr')
    >>> loaded("mart.staff", "2026-11-22").key
    'mart/staff'
    """
    of, _, own = name.partition(".")
    if of == chains.MART.schema:
        return mart(own, run)
    return table(of, own, run) if own else source(of, run)


def mart(name: str, run: str | None) -> AlertSubject:
    """Return a mart, in a run."""
    return AlertSubject.of(chains.MARTS.part(chains.MART, name, run))


def dashboards(run: str | None) -> AlertSubject:
    """Return the dashboards in Metabase, all together."""
    return AlertSubject.of(chains.DASHBOARDS.part(chains.SURFACE, "", run))


def backup(database: str, run: str | None) -> AlertSubject:
    """Return the backup of a database, in a run."""
    return AlertSubject.of(chains.BACKUP.part(chains.BACKED_UP, database, run))


def drill(database: str, month: str | None) -> AlertSubject:
    """Return the restore drill of a database, in a month."""
    return AlertSubject.of(chains.DRILL.part(chains.DRILLED, database, month))


def archive_drill(database: str, month: str | None) -> AlertSubject:
    """Return the drill of what pgBackRest has of a database's server, in a month.

    >>> archive_drill("hr", "2026-11").key, archive_drill("hr", "2026-11").command
    ('drill/hr/pgbackrest', 'pipeline run drill hr --from pgbackrest')
    """
    return AlertSubject.of(chains.DRILL.part(chains.RECOVERED, database, month))


def programs(run: str | None, program: str | None = None) -> AlertSubject:
    """Return all of the analysts' own tasks in a run, or those of one file as they were started alone."""
    return AlertSubject.of(chains.ANALYSTS.whole(run, program))


def typed(arguments: Sequence[str]) -> AlertSubject:
    """Return what `pipeline ARGUMENTS` is about, as far as that can be told of a command that was mistyped.

    >>> typed(["run", "backup", "hr", "--rnu", "x"]).key, typed(["run", "etl", "--wrokers", "2"]).key
    ('backup/hr', 'run/etl')
    >>> typed(["run", "drill", "--from", "pgbackrest", "--mnth", "2026-11"]).key
    'run/archive-drill'
    """
    words = [*arguments[1:3], "", ""]
    name = words[0] if words[0] and not words[0].startswith("-") else "?"
    command = shlex.join(["pipeline", *arguments])
    named = words[1] and not words[1].startswith("-")
    chain = chains.named(name)
    if chain and chain.takes_a_name and named:
        subject = chain.started(None, words[1])
        if chain is chains.DRILL and chains.RECOVERED.aspect in arguments:
            subject = archive_drill(words[1], None)
        return AlertSubject(subject.key, subject.name, command)
    if chain is chains.DRILL and chains.RECOVERED.aspect in arguments:
        name = chains.ARCHIVE_DRILL
    return AlertSubject(f"run/{name}", f"run {name}", command)


def _error_line(error: BaseException | str | None) -> str | None:
    """Return the error's own line: of somebody's log, the last exception in it and its end."""
    if error is None:
        return None
    if isinstance(error, BaseException) and not isinstance(error, PipelineError):
        return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    text = error.fact if isinstance(error, PipelineError) else error
    lines = [line.strip() for line in str(text).splitlines() if line.strip()]
    if len(lines) <= FEW_LINES:
        return "; ".join(lines)
    last = lines[-2:]
    raised = [line for line in lines if _EXCEPTION.fullmatch(line)][-1:]
    return "; ".join([*(line for line in raised if line not in last), *last])
