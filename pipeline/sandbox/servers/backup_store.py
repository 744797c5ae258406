"""What the sandbox's backups need: a bucket with rules and lock, a B2 key for each purpose, two key pairs,
and keys that sign.

Every B2 key and every private key goes into Vault alone; only public keys are files.
"""

from collections.abc import Iterable
from pathlib import Path

from pipeline import bucket, crypt
from pipeline.bucket import roles
from pipeline.errors import UnreachableError
from pipeline.sandbox.b2.control import Control
from pipeline.sandbox.home import Home
from pipeline.sandbox.ports import ADDRESS
from pipeline.sandbox.servers import vault_server
from pipeline.sandbox.servers.vault_server import Administrator
from pipeline.settings import VaultSettings
from pipeline.system import atomic
from pipeline.vault.transit import TYPE, public_keys

NAME = "b2"
BUCKET = "backups"
KEEP_DAYS = 30
# The entries of Vault, and what each key may do. Below restore/ and admin/ the nightly login may not read.
WRITER, VERIFIER, AUDITOR = "b2/writer", "b2/verifier", "b2/auditor"
RESTORER, BY_HAND, ADMIN = "restore/b2", "restore/b2_by_hand", "admin/b2"
KEYS = {
    WRITER: roles.WRITER,
    VERIFIER: roles.VERIFIER,
    AUDITOR: roles.AUDITOR,
    RESTORER: roles.RESTORER,
    BY_HAND: roles.BY_HAND,
    ADMIN: roles.ADMIN,
}
# The school's own key, and one that in earnest would lie in a safe.
SCHOOL_KEY = "restore/school_key"
RECIPIENTS = {"school": SCHOOL_KEY, "safe": "restore/safe_key"}
LIFETIME = "2y"


def realm(home: Home) -> str:
    """Return where the emulator answers."""
    return f"http://{ADDRESS}:{home.state.ports[NAME]}"


def public_key(home: Home, name: str) -> Path:
    """Return the file of a recipient's public key."""
    return home.path / "keys" / f"{name}.asc"


def signers(home: Home) -> Path:
    """Return the file of the public keys whose signatures count."""
    return home.path / "keys" / "signers"


def settings(home: Home) -> dict[str, dict[str, str]]:
    """Return the sections of luigi.cfg about backups."""
    return {
        "backup": {
            "bucket": BUCKET,
            "realm": realm(home),
            "secret": WRITER,
            "verify_secret": VERIFIER,
            "audit_secret": AUDITOR,
            "recipients": ", ".join(str(public_key(home, name)) for name in RECIPIENTS),
            "signers": str(signers(home)),
            "keep_days": str(KEEP_DAYS),
            "work_dir": str(home.path / "work"),
        },
        "restore": {"secret": RESTORER, "key_secret": SCHOOL_KEY},
    }


def provision(home: Home) -> None:
    """Make what is missing of all this."""
    vault = vault_server.administrator(home)
    with Control(home.path / NAME) as control:
        make_bucket(home, control, vault, BUCKET)
    (home.path / "keys").mkdir(mode=0o700, exist_ok=True)
    for name, entry in RECIPIENTS.items():
        if vault.read(entry) is None or not public_key(home, name).exists():
            public, private = crypt.new_key_pair(
                f"Sandbox {name}", f"{name}@sandbox.invalid", expires=LIFETIME, folder=home.path
            )
            vault.write(entry, {"private_key": private})
            atomic.write(public_key(home, name), public)


def write_signers(home: Home, databases: Iterable[str], file: Path) -> None:
    """Make the keys that sign the backups of these databases, and write a file of their public halves."""
    vault, lines = vault_server.administrator(home), []
    named = VaultSettings(url=f"http://{ADDRESS}:{home.state.ports['vault']}", auth="token")
    for database in databases:
        path = f"{named.transit}/keys/{named.signing_key(database)}"
        # One that is there stays as it is.
        vault.call("POST", path, {"type": TYPE})
        keys = public_keys(vault.call("GET", path)["data"])
        lines += [crypt.line(database, version, key) for version, key in sorted(keys.items())]
    file.parent.mkdir(mode=0o700, exist_ok=True)
    atomic.write(file, "".join(f"{line}\n" for line in lines))


def make_bucket(
    home: Home, control: Control, vault: Administrator, name: str, *, entries: str = "", lock: bool = True
) -> None:
    """Make a bucket with its rules and lock, and a key for each purpose, kept in Vault below `entries`."""
    control.create_bucket(name, lock=lock)
    for entry, capabilities in KEYS.items():
        if not _works(home, vault, name, entries + entry):
            key = control.create_key(entry.replace("/", "-"), capabilities, bucket=name)
            vault.write(entries + entry, {"key_id": key.key_id, "application_key": key.application_key})
    with _opened(home, vault, name, entries + ADMIN) as opened:
        opened.apply(keep_days=KEEP_DAYS, lock_days=KEEP_DAYS if lock else None)


def _opened(home: Home, vault: Administrator, name: str, entry: str) -> bucket.Bucket:
    key = vault.read(entry) or {}
    return bucket.connect(key["key_id"], key["application_key"], name, realm=realm(home))


def _works(home: Home, vault: Administrator, name: str, entry: str) -> bool:
    if vault.read(entry) is None:
        return False
    try:
        _opened(home, vault, name, entry).close()
    except UnreachableError:
        return False
    return True
