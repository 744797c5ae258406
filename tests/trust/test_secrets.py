"""Every credential is planted, every path is walked well and badly, and all places are searched for them."""

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.sandbox.home import PROJECT
from tests.support.leaks import (
    Watcher,
    in_files,
    of_the_ledger,
    of_the_scheduler,
    restarted_scheduler,
)
from tests.support.night import next_run
from tests.support.recording import echoing, echoing_postgres
from tests.support.restores import RUN
from tests.trust.stage import B2_ENTRIES, Stage, nobody, stage

__all__ = ["stage"]

MISTAKEN = "mistaken-but-secret-all-the-same: ü"
MONTH = "2026-11"


def alarms(stage: Stage) -> None:
    """Have the tables there, a backup, a page, and something in each place that is searched."""
    type_ = stage.type
    type_(0, "run", "etl", "--run", next_run())
    type_(0, "run", "backup", "hr", "--run", RUN)
    type_(0, "docs", "--out", str(stage.night.platform.folder / "docs.html"))
    with stage.login("source", password=f"{MISTAKEN} at first"):
        type_((3, 5), "run", "etl", "--run", next_run())


def well(stage: Stage) -> None:
    """Type everything while all is well."""
    type_ = stage.type
    type_((0, 4), "check")
    run = next_run()
    type_(0, "run", "etl", "--run", run)
    type_(0, "backups", "hr")
    type_(0, "run", "drill", "hr", "--month", MONTH)
    type_(0, "restore", "hr", "--into-new", stage.restores.name("well"))
    type_(0, "audit", "hr")
    type_(0, "plan", "hr")
    type_((0, 4), "watch")
    type_((0, 4), "watch", "--json")
    type_(0, "status", "--json")
    type_((0, 3), "status", "--run", run)
    type_(0, "rerun", "--run", run, "--from", "extract", "hr.employee")
    type_(0, "run", "mart", "staff", "--run", run)
    type_(3, "run", "analysts", "--run", run)
    type_(0, "dashboards", "plan")
    type_(0, "dashboards", "apply")
    type_(0, "report")
    type_(0, "validate")
    type_(0, "migrate")
    type_(2, "init", "hr")


# What is typed where a login to a database does not do.
BY_LOGIN = {
    "warehouse": ["etl", "status", "watch", "audit", "docs", "migrate", "plan"],
    "marts": ["mart", "check"],
    "dashboards": ["report", "apply", "check"],
    "source": ["etl", "plan", "audit", "init"],
    "backup": ["backup", "check"],
    "drill": ["restore", "drill", "check"],
    "drill superuser": ["check"],
}


def commands(stage: Stage) -> dict[str, list[str]]:
    """Return what is typed, by a word, each time for a run of its own."""
    run = next_run()
    return {
        "etl": ["run", "etl", "--run", run],
        "mart": ["run", "mart", "staff", "--run", run],
        "backup": ["run", "backup", "hr", "--run", run],
        "drill": ["run", "drill", "hr", "--month", f"{run[:4]}-01"],
        "restore": ["restore", "hr", "--into-new", stage.restores.name("bad")],
        "backups": ["backups", "hr"],
        "status": ["status"],
        "watch": ["watch"],
        "audit": ["audit", "hr"],
        "plan": ["plan", "hr"],
        "init": ["init", "hr", "--force"],
        "check": ["check"],
        "docs": ["docs", "--out", str(stage.night.platform.folder / "other.html")],
        "report": ["report"],
        "apply": ["dashboards", "apply"],
        "migrate": ["migrate"],
        "sync": ["sync"],
    }


# How Luigi's own client tries again: each call is tried for a minute else, and a load makes two.
IMPATIENT = {"rpc_retry_attempts": "2", "rpc_retry_wait": "1"}
# Whatever fails is told by one of these, and no bug.
TOLD = (0, 2, 3, 4, 5)


def badly(stage: Stage, *words: str) -> None:
    """Type these under a bad condition, and let them give up soon: each goes on to its end."""
    for word in words:
        stage.type(TOLD, *commands(stage)[word], **stage.impatience)


def stopped_as_they_wait(stage: Stage, *words: str) -> None:
    """Type these where a server may come back, which a night waits for; stop each once it has said so."""
    for word in words:
        stage.stopped("trying again", *commands(stage)[word])


def logins(stage: Stage) -> None:
    """Have each login refused, its server gone, and a server that quotes what it was told."""
    with echoing_postgres() as quoting:
        for name, words in BY_LOGIN.items():
            with stage.login(name, password=f"{MISTAKEN} {name}"):
                badly(stage, *words)
            with stage.login(name, port=nobody()):
                badly(stage, *words[:2])
            with stage.login(name, port=quoting):
                badly(stage, *words)
    for uri in (f"postgresql://drill:{MISTAKEN}/at@host/x", "no uri at all but secret", "postgresql://[::1"):
        with stage.entry(stage.entries["warehouse"], uri=uri):
            badly(stage, "etl", "status")


def buckets(stage: Stage) -> None:
    """Have the keys of the bucket refused, B2 gone, and one that quotes what it was told."""
    words = {"writer": "backup", "verifier": "backups", "auditor": "check", "restorer": "restore"}
    for name, typed in words.items():
        with stage.entry(stage.b2(B2_ENTRIES[name]), application_key=f"{MISTAKEN} {name}"):
            badly(stage, typed)
    for status in (400, 401, 403):
        with echoing(status) as url, stage.setting("backup", realm=url):
            badly(stage, "backup", "backups", "restore", "check")
    with echoing(500) as url, stage.setting("backup", realm=url):
        badly(stage, "backups", "check")
        stopped_as_they_wait(stage, "backup", "restore")
    with stage.setting("backup", realm=f"http://127.0.0.1:{nobody()}"):
        badly(stage, "backups", "watch")
        stopped_as_they_wait(stage, "backup")
    archive = stage.restores.archive
    for call, kind in (("b2_upload_file", "401"), ("b2_get_upload_url", "500")):
        with contextlib.suppress(Exception):
            archive.control.fault(call, kind)
        badly(stage, "backup")
        archive.control.clear()


def keys(stage: Stage) -> None:
    """Have a private key that is none, one that opens nothing, and a mask's key that is too short."""
    entry = f"{stage.restores.archive.entries}restore/key"
    private = stage.restores.archive.private_keys["school"]
    for value in (f"{MISTAKEN}, no key", private[: len(private) // 2], private.replace("\n", " ")):
        with stage.entry(entry, private_key=value):
            badly(stage, "restore")
    with stage.entry("mask", key="short but secret"):
        badly(stage, "etl", "plan")


def vaults(stage: Stage) -> None:
    """Have logins to Vault refused, Vault gone, and one that quotes what it was told."""
    folder = stage.night.platform.folder
    # Some wrong SecretIDs shut the role out for a quarter of an hour, with the right one too.
    lockout = {"user_lockout_config": {"lockout_disable": True}}
    stage.night.platform.sandbox.vault.call("POST", "sys/auth/approle/tune", lockout)
    for auth, kind, text in (
        ("approle", "SecretID", "5f7e1e0c-0000-4444-8888-mistaken-secret"),
        ("token", "token of Vault", "s.mistakenbutsecretallthesame"),
        ("jwt", "JWT", "eyJhbGciOiJSUzI1NiJ9.eyJtaXN0YWtlbiI6InNlY3JldCJ9.c2lnbmF0dXJl"),
    ):
        file = folder / f"credential-of-{auth}"
        file.touch(mode=0o600)
        file.write_text(text)
        stage.planted.add(kind, text)
        own = {"auth": auth, "credential_file": str(file)}
        with stage.setting("vault", **own):
            badly(stage, "check", "etl", "backups")
            for status in (400, 403, 500):
                with echoing(status) as url, stage.setting("vault", url=url):
                    badly(stage, "check", "status")
        file.unlink()
    with stage.setting("vault", url=f"http://127.0.0.1:{nobody()}"):
        badly(stage, "etl", "check")


def others(stage: Stage) -> None:
    """Have Metabase, the webhook, the scheduler and the repository refuse, be gone, and quote."""
    with stage.entry(stage.administrator, password=f"{MISTAKEN} of metabase"):
        badly(stage, "apply")
    with stage.entry(f"{stage.administrator}/api_key", api_key=f"{MISTAKEN} key"):
        badly(stage, "apply")
    for status in (400, 401, 403, 500):
        with echoing(status) as url:
            with stage.setting("metabase", url=url):
                badly(stage, "apply")
            with stage.entry(stage.hook.secret, url=f"{url}/hook/quoting-secret-{status}", hmac_key="k" * 40):
                badly(stage, "watch")
            with stage.setting("core", **IMPATIENT, **{"default-scheduler-port": url.rpartition(":")[2]}):
                badly(stage, "etl")
    with stage.setting("metabase", url=f"http://127.0.0.1:{nobody()}"):
        badly(stage, "apply")
    with stage.setting("core", **IMPATIENT), stage.entry("scheduler", worker=f"{MISTAKEN} of a worker"):
        badly(stage, "etl")
    stage.hook.down()
    badly(stage, "watch")
    stage.hook.up()
    values = {"token": f"{MISTAKEN} of git", "ssh_key": _ssh_key(stage), "known_hosts": "h ssh-ed25519 AAAA"}
    entry = stage.restores.keep("git", **values)
    with echoing(403) as url:
        place = url.removeprefix("http://")
        for repository in (f"https://{place}/a.git", f"http://{place}/a.git", f"ssh://git@{place}/a.git"):
            with stage.setting("analysts", repository=repository, secret=entry):
                badly(stage, "sync")
    stage.night.platform.sandbox.vault.remove(entry)


def _ssh_key(stage: Stage) -> str:
    made = stage.night.platform.folder / "deploy-key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-f", made, "-N", ""], check=True)  # noqa: S607
    text = made.read_text()
    made.unlink()
    stage.planted.add("deploy key of git", text)
    return text


def places(stage: Stage, watcher: Watcher, scratch: Path, began: Path) -> dict[str, set[str]]:
    """Search everything; return the kinds that were found, by place."""
    platform = stage.night.platform
    find = stage.planted.found_in

    def among(texts: Iterator[bytes] | list[bytes]) -> set[str]:
        return {kind for text in texts for kind in find(text)}

    requests = [f"{one['raw']} {one['headers']}".encode() for one in stage.hook.requests()]
    objects = [repr(version).encode() for version in stage.restores.archive.versions()]
    needles = list(stage.planted.kinds)
    folders = [stage.home, Path(platform.sandbox.home.state.server_folder), platform.folder]
    # The catcher of webhooks says at which address it was asked.
    own = in_files(needles, folders, scratch, "--exclude-dir=vault", "--exclude=webhooks.jsonl")
    # What tests make up stands in them.
    left_out = ("tests", ".git", ".venv", ".sandbox", ".mypy_cache", ".ruff_cache")
    apart = [f"--exclude-dir={name}" for name in left_out]
    newer = [
        path
        for top in ("/tmp", "/var/tmp", "/dev/shm", "/root", str(Path.home()))  # noqa: S108 - where others write
        for path in _newer(Path(top), began)
    ]
    shown = [path.read_bytes() for name in ("page", "docs.html") for path in _files(platform.folder / name)]
    assert requests
    assert objects
    assert shown
    return {
        "what commands say": among(stage.said),
        "arguments, environments and sessions, looked at all the time": watcher.found,
        "the scheduler's answers, history and figures": among(of_the_scheduler(platform)),
        "the scheduler's saved state": among([restarted_scheduler(platform.sandbox.home)]),
        "the ledger": among(of_the_ledger(stage.night)),
        "what is in the bucket, with its labels": among(objects),
        "alerts as they came": among(requests),
        "the report and the page of all tables": among(shown),
        "files of the machine: logs, spool, work folders, checkout, servers": set(own),
        "the project": set(in_files(needles, [PROJECT], scratch, *apart)),
        "whatever else was written meanwhile": set(_holding(newer, needles, scratch)),
    }


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]


def _newer(top: Path, began: Path) -> list[str]:
    """Return the files that were written since, but Vault's own, the catcher's, and code."""
    # Another test makes an archive of our sources.
    apart = ("*/vault/*", "*/webhooks.jsonl", "*/patterns*", "*.py", "*.pyc", "*/project.tar")
    line = ["find", str(top), "-xdev", "-newer", str(began), "-type", "f", "-size", "-20M"]
    line += [word for one in apart for word in ("-not", "-path", one)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()


def _holding(files: list[str], needles: list[bytes], scratch: Path) -> list[str]:
    return in_files(needles, [Path(file) for file in files], scratch) if files else []


# The kinds of credentials that are there in every part, and those that come with it.
KINDS = {
    "SecretID",
    "token of Vault",
    "login to the scheduler",
    "half of the mask's key",
    "mask",
    "webhook",
    "login to the warehouse",
    "login to a source",
    "login of a backup",
    "analyst",
    "dashboards",
    "drill",
    "drill_superuser",
    "key of B2",
    "restore/key",
    "metabase",
}
PARTS: dict[Callable[[Stage], None], set[str]] = {
    well: {"metabase/api_key"},
    logins: set(),
    buckets: set(),
    keys: set(),
    vaults: {"JWT"},
    others: {"deploy key of git", "git"},
}
# What was found by those that have ended, to be told at the end of each.
kinds, places_searched, numbers = set[str](), set[str](), dict.fromkeys(("planted", "commands", "found"), 0)


@pytest.mark.endurance
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_no_credential_of_any_kind_is_anywhere_whatever_fails(
    stage: Stage,
    part: Callable[[Stage], None],
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scratch = tmp_path_factory.mktemp("patterns")
    began = scratch / "began"
    began.touch()
    watcher = stage.watching()
    watcher.start()
    try:
        alarms(stage)
        part(stage)
    finally:
        watcher.stop()
    assert stage.wrong == [], stage.typed
    assert watcher.looked > 100
    assert watcher.sessions > 0
    found = places(stage, watcher, scratch, began)
    leaks = {place: what for place, what in found.items() if what}
    kinds.update(stage.planted.names)
    places_searched.update(found)
    for name, more in (
        ("planted", stage.planted.number),
        ("commands", len(stage.typed)),
        ("found", len(leaks)),
    ):
        numbers[name] += more
    with capsys.disabled():
        told = ", ".join(f"{number} {what}" for what, number in numbers.items() if what != "found")
        print(  # noqa: T201 - the closing line
            f"\ncredentials: {len(kinds)} kinds, {told}, {len(places_searched)} places searched: "
            f"{numbers['found']} found{f': {leaks}' if leaks else ''}"
        )
    assert leaks == {}
    assert (KINDS | PARTS[part]) - set(stage.planted.names) == set()
