"""What backups, restores and drills need: keys, the bucket with its rules, the server to restore into."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline import access, crypt, postgres
from pipeline.access import Access
from pipeline.backup.store import signature
from pipeline.errors import PipelineError, StepError
from pipeline.observe.preflight.finding import Finding, checked, unwritable
from pipeline.retry import ASKED
from pipeline.settings import BackupSettings, Settings

UNSIGNED = (
    "backups are not signed: anyone with the key that writes to the bucket can add one that looks like ours; "
    "name a file in [backup] signers (docs/restore.md)"
)


def _keys(backup: BackupSettings) -> dict[str, frozenset[str]]:
    """Return what each key of a night needs; one may do for both."""
    from pipeline.bucket import VERIFIER, WRITER  # noqa: PLC0415 - the SDK is slow to import

    if backup.verify_secret is None or backup.verify_secret == backup.secret:
        return {backup.secret: WRITER | VERIFIER}
    return {backup.secret: WRITER, backup.verify_secret: VERIFIER}


def findings(backup: BackupSettings, settings: Settings, databases: Access) -> Iterator[Finding]:
    """Yield what is found of the recipients, the signatures, the bucket, its keys and the drill server."""

    def recipients() -> list[str]:
        with TemporaryDirectory() as folder:
            now = datetime.now(UTC)
            with crypt.keyring(backup.recipients, now=now, folder=Path(folder)) as keyring:
                return list(keyring.warnings)

    def bucket() -> list[str]:
        if backup.audit_secret is None:
            return ["its rules cannot be read: name a key that reads them in [backup] audit_secret"]
        with databases.bucket(backup.audit_secret, retries=ASKED) as opened:
            return opened.inspect().problems(keep_days=backup.keep_days, lock_days=backup.lock_days or None)

    def drill() -> list[str]:
        with postgres.connection(databases.drill_uri(), "the drill server") as connection:
            return [*unwritable(connection), *postgres.unheeded(connection)]

    def signing() -> list[str]:
        problems: list[str] = []
        for name in settings.databases:
            try:
                problems += signature.problems(databases, name)
            except PipelineError as error:
                # A key that is missing hides the line of no other.
                problems += str(error).splitlines()
        return list(dict.fromkeys(problems))

    def key(secret: str, needed: frozenset[str]) -> list[str]:
        with databases.bucket(secret, retries=ASKED) as opened:
            lacking = sorted(needed - opened.capabilities)
        return [f"it lacks {', '.join(lacking)}; make one with that capability"] if lacking else []

    yield checked("recipients", recipients)
    if backup.signers is None:
        # Restores go on without, and so does a night.
        yield Finding("signatures", warnings=(UNSIGNED,))
    else:
        yield checked("signatures", signing)
    yield checked(f"bucket {backup.bucket}", bucket)
    for secret, needed in _keys(backup).items():
        yield checked(f"key {secret}", lambda secret=secret, needed=needed: key(secret, needed))  # type: ignore[misc]
    if settings.drill is not None:
        yield checked("drill", drill)


def fix(settings: Settings, admin_secret: str, token_file: Path) -> str:
    """Give the bucket its lifecycle rules and lock, and return what was done.

    The key of the bucket's admin is at `admin_secret` in Vault, where the nightly login cannot read:
    `token_file` has a token that can. Raise UnreachableError if either does not suffice, StepError if rules
    are in the way.
    """
    backup = settings.require_backup()
    login = settings.vault.model_copy(update={"auth": "token", "credential_file": token_file})
    person = settings.model_copy(update={"vault": login})
    with access.opened(person) as databases, databases.bucket(admin_secret, retries=ASKED) as opened:
        applied = opened.apply(keep_days=backup.keep_days, lock_days=backup.lock_days or None)
    left = applied.problems(keep_days=backup.keep_days, lock_days=backup.lock_days or None)
    if left:
        raise StepError("; ".join(left))
    lock = f", and locks new objects for {backup.lock_days} days" if backup.lock_days else ""
    return f"bucket {backup.bucket} keeps backups for {backup.keep_days} days{lock}"
