"""What each job may read in Vault, and who may log in as it: a policy and a JWT role, called as the job."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline import mask
from pipeline.chains import Need
from pipeline.chains.jobs import Job
from pipeline.settings import DatabaseSettings, Settings

AUDIENCE = "vault.io"
# A login is renewed by the program as long as it works, and else ends after so long.
PERIOD_SECONDS = 1800
REVOKE = "sys/leases/revoke"


def policy(settings: Settings, job: Job) -> str:
    """Return the policy of a job: the entries that it needs, one by one, and nothing else.

    Beside it Vault's own policy `default` lets a login renew and end itself.
    """
    vault = settings.vault
    paths: dict[str, str] = {}
    for secret in _secrets(settings, job):
        if isinstance(secret, DatabaseSettings) and secret.dynamic:
            paths[secret.secret] = "read"
            # Only a lease whose name one knows can be revoked, and only its receiver knows it.
            paths[REVOKE] = "update"
        else:
            name = secret.secret if isinstance(secret, DatabaseSettings) else secret
            paths[f"{vault.mount}/data/{vault.prefix}/{name}"] = "read"
    for database in signed_by(settings, job):
        paths[f"{vault.transit}/sign/{vault.signing_key(database)}"] = "update"
    blocks = [f'path "{path}" {{\n  capabilities = ["{may}"]\n}}\n' for path, may in sorted(paths.items())]
    return f"# What {job.id} may do; written by bin/vault-setup.\n" + "".join(blocks)


def signed_by(settings: Settings, job: Job) -> Iterator[str]:
    """Yield the databases whose backups a job makes and signs: to verify takes no Vault."""
    if settings.backup is None or settings.backup.signers is None:
        return
    if "database" in job.duty.needs and job.database:
        yield job.database
    elif "databases" in job.duty.needs:
        yield from settings.databases


def role(job: Job, namespace: str) -> Mapping[str, Any]:
    """Return the role of a job: who comes with a token that Nomad gave to this very job, and to no other."""
    return {
        "role_type": "jwt",
        "bound_audiences": [AUDIENCE],
        "bound_claims": {"nomad_job_id": job.id, "nomad_namespace": namespace},
        "user_claim": "/nomad_job_id",
        "user_claim_json_pointer": True,
        "token_policies": [job.id],
        "token_type": "service",
        "token_period": PERIOD_SECONDS,
    }


def _secrets(settings: Settings, job: Job) -> Iterator[DatabaseSettings | str]:  # noqa: PLR0912
    if settings.alerts and not job.duty.foreign:
        yield settings.alerts.secret
    if settings.visualizer and not job.duty.foreign:
        yield settings.visualizer.secret
    for need in job.duty.needs:
        if need == Need.WAREHOUSE and settings.warehouse:
            yield DatabaseSettings(secret=settings.warehouse.secret, address=settings.warehouse.address)
        elif need == Need.SOURCES:
            yield from settings.sources.values()
            yield mask.SECRET
        elif need == Need.ANALYSTS:
            yield from _of_analysts(settings)
        elif need == Need.ANALYST and settings.warehouse:
            yield settings.warehouse.analyst
        elif need == Need.DATABASE and job.database:
            yield settings.database(job.database)
        elif need == Need.DATABASES:
            yield from settings.databases.values()
        elif need == Need.METABASE and settings.metabase and settings.warehouse:
            # The key alone: an empty instance is set up by a person, whose login may read the password.
            yield from (settings.metabase.api_key, settings.warehouse.dashboards)
        elif need == Need.METABASE_DATABASE and settings.metabase_database:
            yield settings.metabase_database
        elif need == Need.DRILL and settings.drill:
            yield settings.drill
            yield from (name for name in (settings.drill.superuser_secret,) if name)
        elif need == Need.RESTORE and settings.restore:
            yield from (settings.restore.secret, settings.restore.key_secret)
        elif need == Need.READER and settings.restore:
            yield settings.restore.secret
        elif need in (Need.BACKUP, Need.AUDIT) and settings.backup:
            yield from _of_bucket(settings, need)


def _of_analysts(settings: Settings) -> Iterator[DatabaseSettings | str]:
    if settings.warehouse:
        yield settings.warehouse.analyst
        if settings.report:
            yield settings.warehouse.dashboards
    if settings.analysts and settings.analysts.secret:
        yield settings.analysts.secret


def _of_bucket(settings: Settings, need: str) -> Iterator[str]:
    backup = settings.require_backup()
    keys = (backup.audit_secret,) if need == Need.AUDIT else (backup.secret, backup.verify_secret)
    yield from (key for key in keys if key)
