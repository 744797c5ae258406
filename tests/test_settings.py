"""What luigi.cfg says, and that everything that is wrong in it is told at once and with its place."""

import ast
import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import settings
from pipeline.errors import PipelineError, ProblemsError, UsageError
from pipeline.settings import luigi_names

PROJECT = Path(__file__).parent.parent
VAULT = """\
[vault]
url = https://vault.example.org:8200
auth = approle
role = f3b0
credential_file = secret-id
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(text: str, name: str = "luigi.cfg") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return written


def problems(path: Path, **environment: str) -> list[str]:
    """Return the problems of a settings file, without the folder's name."""
    with pytest.raises(ProblemsError) as caught:
        settings.read([path], environment)
    assert caught.value.exit_code == 2
    return [problem.replace(f"{path.parent}/", "") for problem in caught.value.problems]


def test_all_sections_are_read(write: Write, tmp_path: Path) -> None:
    text = """
[warehouse]
secret = warehouse
[source.hr]
secret = database/creds/hr
address = [::1]:5432/hr?sslmode=require
connections = 2
[database.hr]
secret = hr/backup
[backup]
bucket = school
secret = b2/writer
recipients = keys/school.asc,
    keys/safe.asc
keep_days = 14
[restore]
secret = b2/restorer
key_secret = restore/school
[drill]
secret = drill
[alerts]
secret = alerts
[analysts]
checkout = analysts
[metabase]
url = http://metabase.example.org/
secret = metabase
"""
    read = settings.read([write(VAULT + text)], {})
    assert read.vault.credential_file == tmp_path / "secret-id"
    assert (read.vault.mount, read.vault.prefix, read.vault.auth_mount) == ("secret", "pipeline", "approle")
    assert read.require_warehouse().secret == "warehouse"
    assert read.source("hr").address == "[::1]:5432/hr?sslmode=require"
    assert read.source("hr").connections == 2
    assert read.database("hr").address is None
    keys = tmp_path / "keys"
    assert read.require_backup().recipients == (keys / "school.asc", keys / "safe.asc")
    assert read.require_backup().lock_days == 14
    assert read.require_restore().key_secret == "restore/school"
    assert read.require_drill().deadline_minutes == 30
    assert read.require_alerts().secret == "alerts"
    assert read.require_analysts().checkout == tmp_path / "analysts"
    assert read.require_metabase().url == "http://metabase.example.org"


def test_one_key_alone_can_be_lost(write: Write) -> None:
    text = "[backup]\nbucket = b\nsecret = b2/writer\nrecipients = school.asc\n"
    assert problems(write(VAULT + text)) == [
        "luigi.cfg:9: [backup] recipients: needs 2 or more, separated by commas; add the missing ones"
    ]


def test_settings_of_this_project_are_valid() -> None:
    read = settings.read([PROJECT / "luigi.cfg"], {"VAULT_ADDR": "http://127.0.0.1:8200"})
    assert read.vault.url == "http://127.0.0.1:8200"
    assert read.warehouse is None
    assert read.sources == {}


def test_examples_in_the_settings_of_this_project_are_valid(write: Write) -> None:
    """What a newcomer uncomments is right: nothing but values that must be given is missing."""
    lines = (PROJECT / "luigi.cfg").read_text().splitlines()
    uncommented = [line.removeprefix("# ") if _is_example(line) else line for line in lines]
    path = write("\n".join(line for line in uncommented if not line.endswith(" =")))
    environment = {"VAULT_ADDR": "http://v", "NOMAD_SECRETS_DIR": "/secrets"}
    told = [problem.partition(": ")[2] for problem in problems(path, **environment)]
    assert told == [
        "[backup] bucket: missing; write it here",
        "[backup] recipients: missing; write it here",
        "[metabase] url: missing; write it here",
    ]


def _is_example(line: str) -> bool:
    text = line.removeprefix("# ")
    return text != line and (text.startswith("[") or text.split(" ")[1:2] == ["="])


def test_later_file_replaces_single_keys(write: Write) -> None:
    first = write(VAULT + "[warehouse]\nsecret = one\naddress = h:1/d\n")
    second = write("[warehouse]\nsecret = two\n", "own.cfg")
    read = settings.read([first, second], {})
    assert read.require_warehouse().secret == "two"
    assert read.require_warehouse().address == "h:1/d"


def test_files_are_found_as_luigi_finds_them(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(VAULT + "[warehouse]\nsecret = one\n", "luigi.cfg")
    assert settings.read(environment={}).require_warehouse().secret == "one"
    named = write("[warehouse]\nsecret = two\n", "named.cfg")
    read = settings.read(environment={"LUIGI_CONFIG_PATH": str(named)})
    assert read.require_warehouse().secret == "two"


def test_no_settings_file_says_where_one_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"no settings file.*luigi\.cfg.*LUIGI_CONFIG_PATH"):
        settings.read(environment={})


def test_named_settings_file_that_is_not_there_is_an_error(write: Write, tmp_path: Path) -> None:
    """Luigi only warns, and would run with the settings of some other file."""
    write(VAULT)
    with pytest.raises(UsageError, match=r"LUIGI_CONFIG_PATH names .*typo\.cfg"):
        settings.read(environment={"LUIGI_CONFIG_PATH": str(tmp_path / "typo.cfg")})


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Have the rights of nobody in particular."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def closed() -> Iterator[Path]:
    """A folder that is closed to an unprivileged user, in one that everybody may enter."""
    outer = Path(tempfile.mkdtemp())
    outer.chmod(0o755)
    folder = outer / "closed"
    folder.mkdir()
    (folder / "luigi.cfg").write_text(VAULT)
    (outer / "named.cfg").write_text(VAULT)
    yield folder
    folder.chmod(0o700)
    shutil.rmtree(outer)


def test_who_became_another_user_in_a_folder_that_is_closed_to_it_reads_the_settings_that_are_named(
    closed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in root's own folder: runuser -u pipeline -- pipeline check."""
    monkeypatch.chdir(closed)
    closed.chmod(0)
    with unprivileged():
        read = settings.read(environment={"LUIGI_CONFIG_PATH": str(closed.parent / "named.cfg")})
        with pytest.raises(UsageError, match="no settings file: neither luigi"):
            settings.read(environment={})
    assert read.vault.role == "f3b0"


def test_settings_in_a_folder_that_is_closed_to_this_user_are_told_as_that_and_not_as_a_bug(
    closed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    closed.chmod(0)
    told = r"closed/luigi.cfg: its folder cannot be entered by \w+; run this as the user that runs the "
    "pipeline"
    with unprivileged(), pytest.raises(UsageError, match=told):
        settings.read(environment={"LUIGI_CONFIG_PATH": str(closed / "luigi.cfg")})


def test_all_problems_of_all_sections_are_told_at_once(write: Write) -> None:
    text = """\
[vault]
url = vault.example.org
auth = aprole
rôle = x
[warehose]
secret = w
[source.mart]
secret = hr
[Sources.hr]
secret = hr
[database.hr]
secret = database/creds/hr
[drill]
secret = /drill
address = host/name
deadline_minutes = soon
[core]
no_lok = True
[worker]
keep-alive = True
"""
    assert problems(write(text)) == [
        "luigi.cfg:2: [vault] url: is not a valid URL; write http:// or https:// and the host",
        "luigi.cfg:3: [vault] auth: must be jwt, approle or token; correct it",
        "luigi.cfg:4: [vault] rôle: unknown key; did you mean role?",
        "luigi.cfg:5: [warehose]: unknown section; did you mean [warehouse]?",
        'luigi.cfg:7: [source.mart]: the name "mart" is reserved by the warehouse; choose another',
        "luigi.cfg:9: [Sources.hr]: unknown section; did you mean [source.hr]?",
        "luigi.cfg:11: [database.hr] address: missing; "
        "a credential made on demand needs address = host:port/name",
        "luigi.cfg:14: [drill] secret: is not a valid path in Vault; write it without a leading slash, "
        "such as warehouse or hr/reader",
        "luigi.cfg:15: [drill] address: is not a valid database address; write host:port/name",
        "luigi.cfg:16: [drill] deadline_minutes: must be a whole number; correct it",
        "luigi.cfg:18: [core] no_lok: Luigi knows no such key; did you mean no_lock?",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[vault\nurl = x\n", "luigi.cfg:1: comes before any [section]; put it into one"),
        ("url = x\n", "luigi.cfg:1: comes before any [section]; put it into one"),
        (
            VAULT + "nonsense-and-p4ssword\n",
            "luigi.cfg:6: is not a 'key = value' line; fix or remove the line",
        ),
        (VAULT + "role = y\n", "luigi.cfg:6: [vault] role: is given twice; keep one"),
        (VAULT + "[drill]\n[drill]\n", "luigi.cfg:7: [drill] is given twice; join them into one"),
    ],
)
def test_broken_syntax_is_told_with_its_line_only(write: Write, text: str, problem: str) -> None:
    """The faulty line itself is not repeated: it may hold anything."""
    assert problem in problems(write(text))


def test_unset_variable_is_a_problem_with_its_place(write: Write) -> None:
    path = write(VAULT.replace("https://vault.example.org:8200", "${VAULT_ADDR}"))
    expected = "the environment variable VAULT_ADDR is not set; export it, or write the value here"
    assert problems(path) == [f"luigi.cfg:2: [vault] url: {expected}"]
    assert settings.read([path], {"VAULT_ADDR": "http://v:1"}).vault.url == "http://v:1"


def test_percent_signs_are_left_alone(write: Write) -> None:
    read = settings.read([write(VAULT + "[analysts]\ncheckout = /a\nbranch = 100%(x)s\n")], {})
    assert read.require_analysts().branch == "100%(x)s"


@pytest.mark.parametrize(
    "line",
    [
        "address = postgresql://reader:hunter2hunter2@h:5432/hr",
        "secret = postgresql://reader:hunter2hunter2@h:5432/hr",
        "password = hunter2hunter2",
        "secret_id = hunter2hunter2",
        "private-key = hunter2hunter2",
        "address = h:5432/hr?password=hunter2hunter2",
        "secret = hvs.hunter2hunter2",
        "secret = eyJhbGciOi.hunter2hunter2.x",
        "secret = ${SECRET}",
    ],
)
@pytest.mark.parametrize("section", ["source.hr", "task_history"])
def test_credentials_are_refused_and_not_repeated(write: Write, section: str, line: str) -> None:
    """In Luigi's sections as well; a variable only in ours, for Luigi expands its own."""
    if section == "task_history" and "$" in line:
        line = "db_connection = postgresql+psycopg2://luigi:hunter2hunter2@h/luigi"
    path = write(f"{VAULT}[{section}]\n{line}\n")
    told = "\n".join(problems(path, SECRET="postgresql://u:hunter2hunter2@h/d"))
    assert f"luigi.cfg:7: [{section}] {line.split(' ')[0]}: " in told
    assert "holds a credential" in told
    assert "hunter2" not in told


def test_login_that_lacks_its_parts_is_told(write: Write) -> None:
    told = problems(write("[vault]\nurl = http://v\nauth = approle\n"))
    assert told == ["luigi.cfg:1: [vault] role and credential_file: missing; auth = approle needs it"]


def test_workload_identity_is_found_where_nomad_puts_it(write: Write) -> None:
    path = write("[vault]\nurl = http://v\nauth = jwt\nrole = pipeline\n")
    assert "credential_file: missing" in problems(path)[0]
    read = settings.read([path], {"NOMAD_SECRETS_DIR": "/secrets"})
    assert read.vault.credential_file == Path("/secrets/nomad_vault.jwt")
    assert read.vault.auth_mount == "jwt-nomad"


@pytest.mark.parametrize("address", ["h:0/d", "h:65536/d", "h/d", "h:1/", "u:p4ssword@h:1/d", "h:1/a b"])
def test_malformed_addresses_are_refused(write: Write, address: str) -> None:
    (told,) = problems(write(f"{VAULT}[warehouse]\nsecret = w\naddress = {address}\n"))
    assert told.startswith("luigi.cfg:8: [warehouse] address: ")
    assert "p4ssword" not in told


@pytest.mark.parametrize(
    "name", ["Hr", "1hr", "h-r", "ops", "public", "pg_hr", "information_schema", "a" * 64]
)
def test_names_that_clash_with_the_warehouse_are_refused(write: Write, name: str) -> None:
    told = problems(write(f"{VAULT}[source.{name}]\nsecret = s\n"))
    assert len(told) == 1
    assert f'the name "{name}"' in told[0]


def test_objects_are_not_locked_for_longer_than_they_are_kept(write: Write) -> None:
    """B2 would refuse to delete them, and the bucket would grow without end."""
    text = "[backup]\nbucket = b\nsecret = s\nrecipients = k, l\nkeep_days = 7\nlock_days = 8\n"
    assert "lock_days: is more than keep_days" in problems(write(VAULT + text))[0]


def test_sections_of_luigi_and_of_tasks_are_left_alone(write: Write) -> None:
    text = (
        "[execution_summary]\nx = 1\n[resources]\nhr = 4\n[LoadWarehouse]\nrun = x\n[etl.LoadTable]\ny = 1\n"
    )
    settings.read([write(VAULT + text)], {})


def test_what_is_missing_is_asked_for_by_name(write: Write) -> None:
    read = settings.read([write(VAULT + "[source.records]\nsecret = r\n")], {})
    asked: list[tuple[Callable[[], object], str]] = [
        (lambda: read.source("record"), r"did you mean records\?.*\[source\.record\]"),
        (lambda: read.source("xyz"), "known: records"),
        (lambda: read.database("hr"), "there is none yet"),
        (read.require_warehouse, r"\[warehouse\]: missing"),
        (read.require_backup, r"\[backup\]: missing"),
        (read.require_drill, r"\[drill\]: missing"),
        (read.require_alerts, r"\[alerts\]: missing"),
        (read.require_visualizer, r"\[visualizer\]: missing"),
        (read.require_analysts, r"\[analysts\]: missing"),
        (read.require_metabase, r"\[metabase\]: missing"),
    ]
    for ask, message in asked:
        with pytest.raises(UsageError, match=message):
            ask()


def test_known_keys_are_those_of_the_installed_luigi() -> None:
    """Read from Luigi's source: a key that a new version adds or drops is noticed here."""
    luigi = pytest.importorskip("luigi")
    folder = Path(luigi.__file__).parent
    files = {
        "core": "interface.py",
        "worker": "worker.py",
        "scheduler": "scheduler.py",
        "retcode": "retcodes.py",
    }
    for section, file in files.items():
        tree = ast.parse((folder / file).read_text())
        (found,) = [n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.name == section]
        assigned = {
            target.id
            for node in found.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        assert assigned
        assert assigned <= luigi_names.KEYS[section]
        if section != "core":  # [core] holds keys of other classes as well
            assert assigned == luigi_names.KEYS[section]


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_with_problems(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    """Whatever is in the file, what comes out is an error for people and no traceback."""
    path = tmp_path_factory.mktemp("any") / "luigi.cfg"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(PipelineError):
        settings.read([path], {})
