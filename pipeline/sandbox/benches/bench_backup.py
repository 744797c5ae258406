"""How fast a backup is, and the peak memory of its steps: for `bin/bench`.

Its local half (dump to ciphertext, with its manifest) is held against a plain `pg_dump -Z zstd:1 > /dev/null`
and, after it, one pass of the checksums alone; upload and verification against curl, which sends the same
bytes to the same server and fetches them again.
"""

import base64
import contextlib
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import requests

from pipeline import access, postgres, settings
from pipeline.backup import dump, encrypt, tools, upload, verify
from pipeline.backup.database import contents
from pipeline.backup.work.work_folder import Work
from pipeline.errors import StepError
from pipeline.postgres import snapshot
from pipeline.sandbox import configuration, provision, sources
from pipeline.sandbox.b2.control import Control
from pipeline.sandbox.benches.bench_platform import Cost
from pipeline.sandbox.benches.figures import Figures
from pipeline.sandbox.home import Home
from pipeline.sandbox.servers import backup_store, clusters, vault_server
from pipeline.sandbox.servers.server import addresses
from pipeline.system import command

DATABASE, BUCKET = "bench_backup", "bench-backups"
# What the names of the bucket's keys in Vault begin with: those of a night, and those of who restores.
OURS, RESTORER = "bench/", "restore/bench/"
# About 600 MB.
ROWS = 5_200_000
FILL = """
CREATE TABLE entry (
    id bigint PRIMARY KEY, account integer NOT NULL, booked_at timestamptz NOT NULL,
    amount numeric(12, 2) NOT NULL, reference text NOT NULL, note text
);
INSERT INTO entry
SELECT n, (n % 9973)::integer, timestamptz '2020-01-01' + n * interval '37 seconds',
       (n * 7919 % 1000003) / 100.0,
       md5(n::text), CASE WHEN n % 3 = 0 THEN md5((n * 31)::text) || ' ' || md5((n * 17)::text) END
FROM generate_series(1::bigint, {rows}) AS n;
ANALYZE entry;
"""


@dataclass(frozen=True)
class Measured:
    """Seconds of one backup, and the memory of its steps and of their programs."""

    pg_dump_seconds: float
    checksum_seconds: float
    dump_seconds: float
    encrypt_seconds: float
    upload_seconds: float
    verify_seconds: float
    curl_seconds: float
    memory_bytes: int
    children_memory_bytes: int


@contextlib.contextmanager
def archive(home: Home, rows: int) -> Iterator[dict[str, str]]:
    """Make the database that is measured and a bucket of its own; give the environment of commands.

    All of it is removed at the end.
    """
    # What a measurement that was killed has left.
    provision.remove_source(home, DATABASE)
    vault = vault_server.administrator(home)
    sources.make(home, DATABASE, None, threading.Event(), as_owner=True)
    with tempfile.TemporaryDirectory() as temporary, Control(home.path / backup_store.NAME) as control:
        try:
            for entries in (OURS, RESTORER):
                backup_store.make_bucket(home, control, vault, BUCKET, entries=entries, lock=False)
            provision.source(home, DATABASE)
            with clusters.connection(home, provision.SOURCES, DATABASE) as connection:
                connection.cursor().execute(FILL.format(rows=rows))
                connection.cursor().execute("VACUUM entry")
            backup_store.write_signers(home, [DATABASE], Path(temporary, "signers"))
            settings_file = Path(temporary, "luigi.cfg")
            settings_file.write_text(
                configuration.render(configuration.template(), _sections(home, temporary))
            )
            # Whatever is installed here: both sides go by the client of the sandbox's own servers.
            path = f"{clusters.BINARIES}{os.pathsep}{os.environ['PATH']}"
            own = {"LUIGI_CONFIG_PATH": str(settings_file), "PATH": path}
            yield {**os.environ, **addresses(home), **own}
        finally:
            with contextlib.suppress(StepError):  # it was not made
                control.remove_bucket(BUCKET)
            provision.remove_source(home, DATABASE)
            for entries in (OURS, RESTORER):
                for entry in backup_store.KEYS:
                    vault.remove(entries + entry)


def _sections(home: Home, temporary: str) -> dict[str, dict[str, str]]:
    """Return settings that know the database and the bucket of the measurement, and no warehouse."""
    shared = configuration.sections(home)
    own = {name: values for name, values in shared.items() if not name.startswith(configuration.NAMED)}
    del own["warehouse"], own["analysts"]
    own["backup"] |= {
        "bucket": BUCKET,
        "secret": OURS + backup_store.WRITER,
        "verify_secret": OURS + backup_store.VERIFIER,
        "audit_secret": OURS + backup_store.AUDITOR,
        "signers": str(Path(temporary, "signers")),
        "work_dir": str(Path(temporary, "work")),
    }
    own["restore"] |= {"secret": RESTORER + backup_store.RESTORER}
    own[f"database.{DATABASE}"] = {"secret": f"database/{DATABASE}"}
    return own


def backup(home: Home, rows: int, rounds: int) -> Figures:
    """Measure several backups, one after the other."""
    figures = Figures("backup")
    with archive(home, rows) as environment:
        for number in range(rounds):
            one = _measured_apart(environment, str(date(2000, 1, 2) + timedelta(days=number)))
            least = one.pg_dump_seconds + one.checksum_seconds
            figures.add(
                "dump, encryption, checksums", Cost(one.dump_seconds + one.encrypt_seconds), Cost(least)
            )
            peak, children = one.memory_bytes / 2**20, one.children_memory_bytes / 2**20
            figures.notes = [
                f"peak memory of a backup's step: {peak:.0f} MiB",
                f"peak memory of the largest of its programs: {children:.0f} MiB",
            ]
            figures.add(
                "upload, verify", Cost(one.upload_seconds + one.verify_seconds), Cost(one.curl_seconds)
            )
    return figures


def _measured_apart(environment: Mapping[str, str], run: str) -> Measured:
    """Measure once, in a process of its own so that its memory is only the steps'."""
    output = command.run(command.python(__name__, run), environment=environment)
    return Measured(**json.loads(output.splitlines()[-1]))


def _measured(run: str) -> Measured:
    configured = settings.read()
    folder = Work(configured.require_backup(), DATABASE, run)
    pg_dump_seconds = _timed_pg_dump()
    checksum_seconds = _timed_checksums()
    try:
        begun = time.monotonic()
        dump.dump_database(configured, DATABASE, run)
        dumped = time.monotonic()
        encrypt.encrypt_dump(configured, DATABASE, run)
        encrypted = time.monotonic()
        curl_seconds = _timed_curl(configured, folder.encrypted(folder.dump))
        sending = time.monotonic()
        upload.upload_backup(configured, DATABASE, run)
        sent = time.monotonic()
        verify.verify_backup(configured, DATABASE, run)
        verified = time.monotonic()
    finally:
        folder.remove()
    return Measured(
        pg_dump_seconds=pg_dump_seconds,
        checksum_seconds=checksum_seconds,
        dump_seconds=dumped - begun,
        encrypt_seconds=encrypted - dumped,
        upload_seconds=sent - sending,
        verify_seconds=verified - sent,
        curl_seconds=curl_seconds,
        memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        children_memory_bytes=resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
    )


def _timed_pg_dump() -> float:
    configured = settings.read()
    pg_dump = tools.newest("pg_dump", configured.require_backup().postgres_bin)
    with access.opened(configured) as databases, Path(os.devnull).open("wb") as nowhere:
        variables = postgres.program_environment(databases.database_uri(DATABASE), DATABASE)
        chosen = tools.compression(pg_dump)
        begun = time.monotonic()
        with command.Child(
            [pg_dump.path, "--format=custom", tools.compression_argument(pg_dump, chosen)],
            environment=command.clean_environment(variables),
            output=nowhere.fileno(),
        ) as child:
            child.finish()
        return time.monotonic() - begun


def _timed_checksums() -> float:
    with access.opened(settings.read()) as databases, databases.database(DATABASE) as connection:
        snapshot.take(connection)
        shapes = contents.tables(connection)
        begun = time.monotonic()
        for shape in shapes:
            contents.count(connection, shape)
        return time.monotonic() - begun


def _timed_curl(configured: settings.Settings, file: Path) -> float:
    """Return what it takes to send a file to the bucket's server and fetch it, by curl, with a known hash."""
    backup = configured.require_backup()
    with access.opened(configured) as databases:
        key = databases.vault.read(backup.secret)
        reading = databases.vault.read(backup.verify_secret or backup.secret)
    realm = backup.realm or ""
    account = _asked(f"{realm}/b2api/v4/b2_authorize_account", _basic(key))
    reader = _asked(f"{realm}/b2api/v4/b2_authorize_account", _basic(reading))
    api = account["apiInfo"]["storageApi"]
    (bucket,) = [one["id"] for one in api["allowed"]["buckets"] if one["name"] == backup.bucket]
    place = _asked(
        f"{api['apiUrl']}/b2api/v4/b2_get_upload_url", account["authorizationToken"], bucketId=bucket
    )
    name = f"{DATABASE}/curl-{time.time_ns()}"
    with file.open("rb") as content:
        sha1 = hashlib.file_digest(content, lambda: hashlib.sha1(usedforsecurity=False)).hexdigest()
    begun = time.monotonic()
    _curl(
        place["uploadUrl"],
        place["authorizationToken"],
        f"""
        request = POST
        upload-file = "{file}"
        header = "X-Bz-File-Name: {name}"
        header = "Content-Type: application/octet-stream"
        header = "X-Bz-Content-Sha1: {sha1}"
    """,
    )
    _curl(f"{api['downloadUrl']}/file/{backup.bucket}/{name}", reader["authorizationToken"], "")
    return time.monotonic() - begun


def _basic(key: Mapping[str, str]) -> str:
    return "Basic " + base64.b64encode(f"{key['key_id']}:{key['application_key']}".encode()).decode()


def _asked(url: str, authorization: str, **body: str) -> dict[str, Any]:
    answer: dict[str, Any] = requests.post(
        url, json=body, headers={"Authorization": authorization}, timeout=60
    ).json()
    return answer


def _curl(url: str, authorization: str, more: str) -> None:
    # Not among its arguments, which others on the machine can read.
    config = f'url = "{url}"\nheader = "Authorization: {authorization}"\n{more}'
    line = ["curl", "--silent", "--show-error", "--fail", "--output", os.devnull, "--config", "-"]
    subprocess.run(line, input=config, text=True, check=True)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_measured(sys.argv[1]).__dict__) + "\n")
