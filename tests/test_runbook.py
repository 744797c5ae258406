"""docs/restore.md: its way to restore without this tool is run word for word, and what it says is held to."""

import base64
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from psycopg2 import sql

from pipeline import postgres
from pipeline.sandbox import provision
from pipeline.sandbox.home import PROJECT
from pipeline.sandbox.servers import backup_store, clusters
from tests.support.archive import SMALL
from tests.support.restores import RUN, Restores

pytestmark = pytest.mark.endurance

DOCUMENT = PROJECT / "docs" / "restore.md"
MARK = "<!-- Run by tests/test_runbook.py as it stands here. -->"
# No line of it ends a statement, or begins a command of psql.
SECRET = "planted-secret\n-- ';\n\\! false \"; :x\n"


def commands() -> str:
    """Return the commands of the document."""
    found = re.search(rf"{re.escape(MARK)}\n```sh\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def test_a_backup_is_restored_by_the_commands_of_the_document_alone(restores: Restores) -> None:
    """And not with the key of another database: then nothing is decrypted."""
    restores.source("shop", SMALL)
    with restores.archive.platform.connect("shop") as connection:
        for whose in (f"DATABASE {connection.info.dbname}", f"ROLE {restores.owner('shop')}"):
            secret = sql.SQL("ALTER {} SET app.secret TO {}").format(sql.SQL(whose), sql.Literal(SECRET))
            postgres.rows(connection, secret)
    restores.back_up("shop")
    folder = restores.archive.folder / "by-hand"
    home = restores.archive.folder / "home"
    for made in (folder, home):
        made.mkdir()
    (folder / "key.asc").write_text(restores.archive.private_keys["safe"])
    signers = restores.archive.settings.require_backup().signers
    assert signers is not None

    def typed() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["/bin/bash", "-c", commands()],
            cwd=folder,
            env=environment(restores, home),
            capture_output=True,
            text=True,
            check=False,
        )

    ours = signers.read_text()
    other = base64.b64encode(bytes(31) + b"x").decode()
    (folder / "signers").write_text(f"shop 1 {other}\nother 1 {ours.split()[2]}\n")
    refused = typed()
    assert refused.returncode == 1, refused.stdout + refused.stderr
    assert "Signature Verification Failure" in refused.stdout, refused.stdout + refused.stderr
    assert (folder / "key.asc").exists()
    for left_over in folder.iterdir():
        if left_over.name != "key.asc":
            left_over.unlink()
    (folder / "signers").write_text(ours)
    done = typed()
    assert done.returncode == 0, done.stdout + done.stderr
    database = restores.archive.platform.database("shop")
    assert restores.ask(database, "SELECT count(*), min(name), max(name) FROM item") == [
        (1000, "item 1", "item 999")
    ]
    owners = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
    assert restores.ask(database, owners) == [(restores.owner("shop"),)]
    # What the database is set to comes out of its dump, that of roles out of their file.
    settings = "SELECT unnest(setconfig) FROM pg_db_role_setting WHERE setdatabase = {} AND setrole = {}"
    of_database = f"(SELECT oid FROM pg_database WHERE datname = '{database}')"
    for found in (
        settings.format(of_database, 0),
        settings.format(0, f"'{restores.owner('shop')}'::regrole"),
    ):
        assert restores.ask(database, found) == [(f"app.secret={SECRET}",)]
    left = sorted(path.name for path in folder.iterdir())
    assert left == ["globals.sql.gpg", "manifest.json", "shop.dump.gpg", "signers"]
    # b2 keeps no key when it is given one in the environment.
    assert [path for path in home.rglob("*") if path.is_file()] == []


def environment(restores: Restores, home: Path) -> dict[str, str]:
    """Return what the document says is set before its commands."""
    vault = restores.archive.platform.sandbox.vault
    key = vault.read(f"{restores.archive.entries}{backup_store.BY_HAND}")
    assert key is not None
    sandbox = restores.home
    programs = [str(Path(sys.executable).parent), str(clusters.BINARIES), os.environ["PATH"]]
    return {
        "PATH": os.pathsep.join(programs),
        "HOME": str(home),
        "BUCKET": restores.archive.bucket_name,
        "DATABASE": "shop",
        "RUN": RUN,
        "B2_APPLICATION_KEY_ID": key["key_id"],
        "B2_APPLICATION_KEY": key["application_key"],
        # Not in the document: where the emulator is.
        "B2_ENVIRONMENT": backup_store.realm(sandbox),
        "PGHOST": sandbox.state.socket_folder,
        "PGPORT": str(sandbox.state.ports[provision.DRILL]),
        "PGUSER": clusters.SUPERUSER,
    }
