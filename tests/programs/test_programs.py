"""The analysts' own tasks: they do their work, and whatever else they try, nothing of ours is touched."""

import contextlib
import errno
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from pipeline import access, alerts, settings
from pipeline.cli.runs import programs as commands
from pipeline.confine import parent
from pipeline.confine.limits import MIB, Limits
from pipeline.errors import AlreadyRunningError, StepError, UnreachableError, UsageError
from pipeline.programs import check, confined
from pipeline.programs import run as programs
from pipeline.settings import Settings
from pipeline.system import command
from tests.support.hooks import Hook
from tests.support.marks import in_depth
from tests.support.marts import loaded
from tests.support.night import Night, next_run

WHOLE = """
    import luigi
    from pipeline import analysts
    from _names import TABLE

    class Prepared(luigi.Task):
        date = luigi.DateParameter()

        def output(self):
            return analysts.written(self)

        def run(self):
            with analysts.writing(self) as connection, connection.cursor() as cursor:
                cursor.execute(f"CREATE TABLE IF NOT EXISTS {TABLE} (day date, heads bigint)")

    class Headcount(luigi.Task):
        date = luigi.DateParameter()

        def requires(self):
            return Prepared(date=self.date)

        def output(self):
            return analysts.written(self)

        def run(self):
            with analysts.writing(self) as connection, connection.cursor() as cursor:
                cursor.execute(f"INSERT INTO {TABLE} SELECT %s, count(*) FROM hr.employee", [self.date])
    """
# Its body is what a stranger does in run().
ONE = """
    import luigi
    from pipeline import analysts

    class One(luigi.Task):
        def run(self):
    """
# Runs a Python as nobody that may be where nobody else may go: they are let in, in this test's own namespace.
OPENED = """
    kept=$(mktemp -d) && mount --rbind "$1" "$kept" && top=/$(printf %s "$1" | cut -d / -f 2) || exit 1
    if [ "$top" = /root ]; then
        mount -t tmpfs -o mode=755 none /root && mkdir -p "$1" && mount --rbind "$kept" "$1" || exit 1
    fi
    exec setpriv --reuid 65534 --regid 65534 --clear-groups "$2" -P -c "$3"
    """
# Writes where the outcome is written, and ends.
CLAIM = """
import os
for descriptor in range(3, 20):
    try:
        os.write(descriptor, b'{{"problems": [], "tasks": 1}}')
    except OSError:
        pass
{end}
"""
MINIMUM = "import luigi\nclass One(luigi.Task):\n    pass\n"


@pytest.fixture
def confinable() -> None:
    """Leave out what needs namespaces where this machine gives none."""
    with contextlib.suppress(UsageError):
        parent.run([sys.executable, "-c", ""], copied={}, folder="/", limits=Limits(10, 64 * MIB))
        return
    pytest.skip("this machine permits no namespaces")


@pytest.fixture
def configured(tmp_path: Path) -> Settings:
    """Settings with a checkout, for what needs no server."""
    file = tmp_path / "luigi.cfg"
    file.write_text(
        "[vault]\nurl = http://127.0.0.1:9\nauth = token\n"
        f"[alerts]\nsecret = alerts\nspool = {tmp_path / 'spool'}\n"
        f"[analysts]\ncheckout = {tmp_path / 'analysts'}\n"
    )
    return settings.read([file])


pytestmark = pytest.mark.usefixtures("confinable")


def test_what_is_shown_by_a_link_to_it_has_its_own_links_lead_where_they_lead_outside(tmp_path: Path) -> None:
    """So is the environment of a release: s/NAME/venv is a link, and in it are links to what it shares."""
    real, link = tmp_path / "all" / "one" / "two", tmp_path / "all" / "short"
    (real / "inner").mkdir(parents=True)
    common = tmp_path / "common"
    common.mkdir()
    (common / "text").write_text("it is there")
    (real / "inner" / "text").symlink_to("../../../../common/text")
    link.symlink_to("one/two")
    for folder in (real, real / "inner", common):
        folder.chmod(0o755)
    line = [sys.executable, "-c", f"print(open({str(link / 'inner' / 'text')!r}).read())"]
    ended = parent.run(line, copied={}, folder="/", limits=Limits(20, 64 * MIB), read=[common, real, link])
    assert (ended.code, ended.result) == (0, b"it is there\n"), ended.last


def write(folder: Path, **files: str) -> Path:
    """Write tasks/NAME.py for each, for its owner alone to read, as sync does."""
    (folder / "tasks").mkdir(mode=0o700, exist_ok=True)
    for name, text in files.items():
        path = folder / "tasks" / f"{name}.py"
        path.write_text(textwrap.dedent(text))
        path.chmod(0o600)
    return folder


def one(body: str) -> str:
    return textwrap.dedent(ONE) + textwrap.indent(textwrap.dedent(body), " " * 8)


def run(night: Night, body: str, **settings: object) -> str:
    """Run one task with that body, and return how it failed."""
    folder = write(night.platform.analysts, stranger=one(body))
    analysts = night.settings.require_analysts().model_copy(update=settings)
    configured = night.settings.model_copy(update={"analysts": analysts})
    try:
        programs.run_program(configured, folder, "stranger", next_run())
    except StepError as error:
        return str(error)
    return ""


@pytest.mark.endurance
def test_tasks_write_as_an_analyst_after_what_they_require_and_only_once(night: Night) -> None:
    loaded(night)
    folder = write(night.platform.analysts, headcount=WHOLE, _names='TABLE = "mart.headcount"')
    when = next_run()
    assert check.problems(folder) == []
    assert not programs.is_done(night.settings, "headcount", when)
    for _ in range(2):
        programs.run_program(night.settings, folder, "headcount", when)
    assert programs.is_done(night.settings, "headcount", when)
    assert night.ask("warehouse", "SELECT day::text, heads FROM mart.headcount") == [(when, 3)]
    owner = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'mart.headcount'::regclass"
    assert night.value("warehouse", owner) == f"{night.platform.database('warehouse')}_analyst"


def test_a_task_that_raises_is_told_with_its_line(night: Night) -> None:
    said = run(night, "\nraise ValueError('no such intake')")
    assert said.startswith("tasks/stranger.py:8: One: ValueError: no such intake")


@pytest.mark.endurance
def test_status_tells_when_tasks_were_done_and_what_failed_since(night: Night) -> None:
    night.platform.source(
        "shop", "CREATE TABLE item (id int PRIMARY KEY)", "source: shop\ntables: {item: {}}\n"
    )
    write(night.platform.analysts, other=one("pass"), stranger=one("pass"))
    assert "tasks/other.py: never done here" in night.run("status").out
    assert run(night, "pass") == ""
    assert run(night, "raise ValueError('no such intake')")
    ended = night.run("status")
    assert ended.code == 3
    assert re.search(r"^tasks/stranger\.py: last done 20.* UTC, in run 2\d{3}-", ended.out, re.MULTILINE), (
        ended.out
    )
    assert "ValueError: no such intake" in ended.out
    assert "pipeline run analysts stranger --run " in ended.out
    told = json.loads(night.run("status", "--json").out)["programs"]
    assert [(one["file"], one["state"]) for one in told] == [
        ("tasks/other.py", "ok"),
        ("tasks/stranger.py", "failed"),
    ]
    assert run(night, "pass") == ""
    assert night.run("status").code != 3


def test_a_task_that_hangs_is_ended_with_all_that_it_started(night: Night) -> None:
    body = """
        import os, subprocess, time
        if os.fork() == 0:
            os.setsid()
            subprocess.run(["sleep", "7531"])
        time.sleep(600)
        """
    assert "took longer than 1.8 seconds" in run(night, body, task_minutes=0.03)
    assert not [one for one in psutil.process_iter(["cmdline"]) if "7531" in (one.info["cmdline"] or ())]


@pytest.mark.endurance
def test_a_task_gets_no_more_memory_than_it_may(night: Night) -> None:
    assert "MemoryError" in run(night, "kept = bytearray(900_000_000)", task_memory_mb=256)
    body = """
        import os, time
        for _ in range(8):
            if os.fork() == 0:
                kept = bytearray(os.urandom(1)) * 60_000_000
                time.sleep(60)
        time.sleep(60)
        """
    assert "took more than 256 MiB of memory" in run(night, body, task_memory_mb=256)


@pytest.mark.endurance
def test_a_task_cannot_start_processes_without_end(night: Night) -> None:
    body = """
        import os, signal, time
        started = []
        try:
            while len(started) < 1000:
                child = os.fork()
                if child == 0:
                    time.sleep(60)
                    os._exit(0)
                started.append(child)
        except OSError as error:
            for child in started:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            raise RuntimeError(f"{len(started)}: {error.strerror}")
        """
    before = len(psutil.pids())
    said = run(night, body)
    assert "Resource temporarily unavailable" in said
    assert int(said.split("RuntimeError: ")[1].split(":")[0]) < 64
    assert len(psutil.pids()) < before + 40


@pytest.mark.endurance
def test_a_task_cannot_fill_a_disk(night: Night) -> None:
    body = """
        written = 0
        try:
            for number in range(8):
                with open(f"/tmp/full-{number}", "wb") as file:
                    for _ in range(64):
                        written += file.write(bytes(1 << 20))
        except OSError as error:
            raise RuntimeError(f"{written >> 20} MiB: {error.strerror}")
        """
    said = run(night, body)
    assert "No space left on device" in said
    assert int(said.split("RuntimeError: ")[1].split()[0]) <= 256
    assert not list(Path("/tmp").glob("full-*"))  # noqa: S108 - where it believes to write
    for place in ("/usr", "/analysts", "/", sys.prefix):
        assert "OSError" in run(night, f"open('{place}/of-a-stranger', 'w')"), place
        assert not Path(place, "of-a-stranger").exists()


@pytest.mark.endurance
def test_what_a_task_says_without_end_is_not_kept(night: Night) -> None:
    body = "import sys\nfor _ in range(3000):\n    sys.stderr.write('x' * 4000)\nprint('done')"
    assert run(night, body) == ""


def test_a_task_sees_nothing_of_ours(night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_OURS", "in-the-environment")
    private = tmp_path / "ours"
    private.write_text("ours")
    credential = night.settings.vault.credential_file
    places = [
        private,
        night.platform.settings_file,
        night.platform.analysts / "sources" / "hr.yaml",
        Path(f"/proc/{os.getpid()}/environ"),
        Path(f"/proc/{os.getppid()}/mem"),
        Path.home() / ".ssh",
        Path("/etc/shadow"),
        Path("/etc/pipeline"),
        Path(__file__),
        *([credential] if credential else []),
    ]
    body = f"""
        import glob, os
        assert not [name for name in os.environ if "SECRET" in name or "VAULT" in name or "LUIGI" in name]
        for place in {[str(place) for place in places]}:
            try:
                open(place).read()
            except OSError:
                continue
            raise RuntimeError("could read " + place)
        mine = {{"1", str(os.getpid())}}
        others = {{one for one in os.listdir("/proc") if one.isdigit()}} - mine
        assert not others, others
        for place in ("environ", "mem", "root/etc/shadow", "cwd"):
            try:
                open("/proc/1/" + place).read()
            except OSError:
                continue
            raise RuntimeError("could look into " + place)
        assert os.getuid() != 0
        """
    assert run(night, body) == ""


def test_a_task_reaches_the_warehouse_and_no_other_server(night: Night) -> None:
    loaded(night)
    vault = night.settings.vault.url.rpartition(":")[2].rstrip("/")
    with socket.create_server(("127.0.0.1", 0)) as other, access.opened(night.settings) as databases:
        source = databases._uri(night.settings.source("hr"))
        body = f"""
            import socket, psycopg2
            for port in ({vault}, {other.getsockname()[1]}):
                try:
                    socket.create_connection(("127.0.0.1", port), 2)
                except OSError:
                    continue
                raise RuntimeError(f"could reach {{port}}")
            for address in (("1.1.1.1", 53), ("169.254.169.254", 80)):
                try:
                    socket.create_connection(address, 2)
                except OSError:
                    continue
                raise RuntimeError(f"could reach {{address}}")
            try:
                psycopg2.connect({source!r})
            except psycopg2.OperationalError:
                pass
            else:
                raise RuntimeError("could reach a source")
            with analysts.connect() as connection, connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM hr.employee")
                assert cursor.fetchone() == (3,)
            """
        assert run(night, body) == ""


def test_a_task_reads_no_schema_that_is_not_for_analysts_and_changes_no_table_of_a_source(
    night: Night,
) -> None:
    loaded(night)
    statements = (
        "SELECT * FROM ops.step",
        "DELETE FROM hr.employee",
        "DROP TABLE hr.employee",
        "CREATE SCHEMA theirs",
        "CREATE TABLE staging.theirs ()",
        "CREATE TABLE quarantine.theirs ()",
        "SET ROLE pg_read_all_data",
        "SELECT pg_read_file('/etc/passwd')",
        "COPY hr.employee TO PROGRAM 'cat'",
        "CREATE ROLE theirs",
    )
    body = f"""
        import psycopg2
        for statement in {statements!r}:
            try:
                with analysts.connect() as connection, connection.cursor() as cursor:
                    cursor.execute(statement)
            except psycopg2.errors.InsufficientPrivilege:
                continue
            raise RuntimeError("could " + statement)
        """
    assert run(night, body) == ""
    assert night.value("warehouse", "SELECT count(*) FROM hr.employee") == 3


@pytest.mark.endurance
def test_a_load_goes_on_while_a_task_does_what_it_likes(night: Night) -> None:
    when = loaded(night)
    folder = write(night.platform.analysts, stranger=one("import os\nwhile True:\n    os.urandom(1 << 20)"))
    analysts = night.settings.require_analysts().model_copy(update={"task_minutes": 0.1})
    configured = night.settings.model_copy(update={"analysts": analysts})
    beside = os.fork()
    if beside == 0:
        with contextlib.suppress(BaseException):
            programs.run_program(configured, folder, "stranger", when)
        os._exit(0)
    with night.platform.connect("hr") as source, source.cursor() as cursor:
        cursor.execute("INSERT INTO employee VALUES (9, 'Ed', 'IT', 1, '2024-01-01')")
    night.load("hr", "employee")
    assert night.differing("hr") == []
    os.waitpid(beside, 0)


@in_depth(
    ("text", "told"),
    [
        ("import luigi\n1 / 0\n", "tasks/t.py:2: ZeroDivisionError: division by zero"),
        ("import luigi\n", "tasks/t.py:1: has no task to start with"),
        ("import nothing_of_the_kind\n", "tasks/t.py:1: ModuleNotFoundError"),
        ("import os\nos._exit(0)\n", "tasks/t.py:1: ended with 0 before it was done"),
        ("import os\nos._exit(98)\n", "tasks/t.py:1: ended with 98 before it was done"),
        ("import os\nos.kill(os.getpid(), 9)\n", "tasks/t.py:1: ended by signal 9"),
        (CLAIM.format(end="os._exit(3)"), "tasks/t.py:1: ended with 3 before it was done"),
        (CLAIM.format(end="os.kill(os.getpid(), 9)"), "tasks/t.py:1: ended by signal 9"),
        (CLAIM.format(end="os._exit(1)"), "tasks/t.py:1: ended with 1 before it was done"),
        ("import socket\nsocket.create_connection(('127.0.0.1', 22))\n", "tasks/t.py:2: OSError: "),
        ("from pipeline import analysts\nanalysts.connect().__enter__()\n", "tasks/t.py:2: RuntimeError"),
        ("open('/analysts/tasks/t.py', 'a')\n", "tasks/t.py:1: PermissionError: "),
        ("open('/usr/x', 'a')\n", "tasks/t.py:1: OSError: [Errno 30] Read-only file system"),
        ("print('{\"problems\": []}')\nimport os\nos._exit(0)\n", "ended with 0 before it was done"),
    ],
    ids=[
        "raises",
        "empty",
        "module",
        "exits",
        "exits-98",
        "killed",
        "claims-3",
        "claims-killed",
        "claims-1",
        "network",
        "vault",
        "itself",
        "writes",
        "claims",
    ],
    quick=4,
)
def test_what_cannot_be_imported_is_told_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    (problem,) = check.problems(write(tmp_path, t=text))
    assert told in problem


def test_a_file_that_can_be_imported_has_no_problem(tmp_path: Path) -> None:
    assert check.problems(write(tmp_path, t=MINIMUM, u=WHOLE, _names='TABLE = "mart.t"')) == []


def test_a_file_that_is_called_like_a_library_does_not_take_its_place(tmp_path: Path) -> None:
    text = MINIMUM + "import calendar\nassert calendar.monthrange(2026, 2) == (6, 28)\n"
    assert check.problems(write(tmp_path, calendar=text)) == []


def test_what_cannot_be_confined_is_told_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refusal(*arguments: str, folder: str = "/") -> str:
        with pytest.raises(UsageError, match="the analysts' tasks cannot be confined here") as raised:
            parent.run(arguments, copied={}, folder=folder, limits=Limits(30, 64 * MIB))
        return raised.value.fact.partition("confined here: ")[2]

    assert refusal("/no/such/program") == "/no/such/program: No such file or directory"
    assert refusal(sys.executable, folder="/no/such/folder") == "/no/such/folder: No such file or directory"
    text = """
        import errno, sys
        from pipeline.confine import inside, kernel

        def unshare(flags):
            raise OSError(errno.EPERM, "unshare: Operation not permitted")

        kernel.unshare = unshare
        inside.main(sys.argv[1:])
        """
    line = [sys.executable, "-P", "-c", textwrap.dedent(text)]
    monkeypatch.setattr(command, "python", lambda _module, plan: [*line, plan])
    assert refusal(sys.executable, "-c", "") == "unshare: Operation not permitted"


@pytest.mark.endurance
def test_without_root_as_well_nothing_of_ours_is_to_be_seen(tmp_path: Path) -> None:
    """Whoever runs the pipeline as an ordinary user has the same, by a namespace of users."""
    if os.geteuid() != 0:
        pytest.skip("this is what the others do then")
    text = "import luigi, os\nassert os.getuid() == 65534\nopen('/etc/passwd')\nopen({!r})\n"
    private = tmp_path / "private"
    private.write_text("of the user that runs it")
    write(tmp_path, t=text.format(str(private)))
    for path in (tmp_path / "tasks", tmp_path / "tasks" / "t.py", private):
        os.chown(path, 65534, 65534)
    line = "from pathlib import Path; from pipeline.programs import check; "
    line += f"print(Path({str(private)!r}).read_text(), check.problems(Path({str(tmp_path)!r})))"
    for path in (tmp_path, *tmp_path.parents):
        if path != Path("/") and path.stat().st_mode & 0o005 == 0:
            path.chmod(path.stat().st_mode | 0o005)
    done = subprocess.run(
        [
            shutil.which("unshare") or "",
            "-m",
            "sh",
            "-c",
            OPENED,
            "sh",
            sys.base_prefix,
            sys.executable,
            line,
        ],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
    )
    assert done.stdout.startswith("of the user that runs it"), done.stderr
    assert "tasks/t.py:4: FileNotFoundError: " in done.stdout


def test_what_fails_while_tasks_run_is_not_taken_for_others_that_run(configured: Settings) -> None:
    def fail() -> None:
        with programs.running(configured):
            with pytest.raises(AlreadyRunningError, match="the analysts' tasks are already running"):
                programs.running(configured).__enter__()
            raise BlockingIOError(errno.EAGAIN, "no more processes")

    with pytest.raises(BlockingIOError, match="no more processes"):
        fail()


def end_by(monkeypatch: pytest.MonkeyPatch, configured: Settings, run: str, name: str, end: object) -> None:
    """Let the tasks of a file end as `end` does, without a server."""
    monkeypatch.setattr(access, "opened", lambda _settings: contextlib.nullcontext())
    monkeypatch.setattr(confined, "run", end)
    programs.run_program(configured, Path(), name, run)


def test_what_is_known_of_tasks_that_failed_is_how_they_failed(
    configured: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_processes(*_arguments: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "no more processes")

    def bug(*_arguments: object) -> None:
        assert not _arguments

    def killed(*_arguments: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    run = next_run()
    for name, end, kind in (("forks", no_processes, OSError), ("bug", bug, AssertionError)):
        with pytest.raises(kind):
            end_by(monkeypatch, configured, run, name, end)
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            end_by(monkeypatch, configured, run, "killed", killed)
        os._exit(1)
    os.waitpid(child, 0)
    found = {name: programs.outcome(configured, name, run) for name in ("forks", "bug", "killed")}
    assert found["forks"]["error"] == f"BlockingIOError: [Errno {errno.EAGAIN}] no more processes"
    assert found["bug"]["error"].startswith("AssertionError")
    assert [found[name]["exit_code"] for name in found] == [1, 1, 3]
    assert (found["killed"]["error"], found["killed"]["pid"]) == ("it was killed", child)


def test_what_is_to_be_mended_is_told_apart_from_what_failed(
    configured: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sealed(*_arguments: object) -> None:
        raise UnreachableError("Vault is sealed", hint="unseal it")

    run = next_run()
    with pytest.raises(UnreachableError):
        end_by(monkeypatch, configured, run, "first", sealed)
    found = programs.outcome(configured, "first", run)
    assert (found["error"], found["hint"]) == ("Vault is sealed", "unseal it")
    with pytest.raises(UnreachableError) as told:
        commands._judge(configured, ["first"], run, 3, [])
    again = f"pipeline run analysts first --run {run}"
    assert str(told.value).splitlines() == ["Vault is sealed", f"  next: unseal it, then {again}"]
    with pytest.raises(StepError, match=r"next: unseal it; fix tasks/other\.py, then pipeline run analysts"):
        commands._judge(configured, ["first", "other"], run, 3, [])
    hints = {alert.key: (alert.error, alert.hint) for alert in alerts.open_alerts(configured)}
    assert hints == {
        "analysts/first": ("Vault is sealed", "unseal it"),
        "analysts/other": ("it did not start", "fix tasks/other.py"),
    }


@pytest.mark.endurance
def test_the_command_runs_each_file_apart_tells_what_failed_and_goes_on_from_there(
    night: Night, hook: Hook
) -> None:
    loaded(night)
    folder = write(night.platform.analysts, headcount=WHOLE, _names='TABLE = "mart.headcount"')
    write(folder, stranger=one("raise ValueError('no such intake')"))
    when = next_run()
    ended = night.run("run", "analysts", "--run", when)
    assert ended.code == 3, ended.err
    assert ended.errors[0] == "tasks/stranger.py:7: One: ValueError: no such intake"
    again = f"pipeline run analysts stranger --run {when}"
    assert ended.errors[1] == f"  next: correct that, and push it, then {again}"
    assert night.ask("warehouse", "SELECT heads FROM mart.headcount") == [(3,)]
    (alert,) = hook.alerts()
    assert (alert.key, alert.command) == ("analysts/stranger", again)
    write(folder, stranger=one("pass"))
    second = night.run("run", "analysts", "--run", when)
    assert (second.code, second.out) == (0, f"{when}: 1 file of tasks done: stranger\n"), second.err
    assert [one.kind for one in hook.alerts()] == ["failed", "recovered"]
    assert "already done" in night.run("run", "analysts", "--run", when).out
    wrong = night.run("run", "analysts", "strangr", "--run", when)
    assert (wrong.code, wrong.errors[0][:40]) == (2, "strangr: no such file (did you mean stra"), wrong.err
