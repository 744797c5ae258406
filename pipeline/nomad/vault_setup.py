"""bin/vault-setup: gives each job of Nomad its policy and its role in Vault, and shows what that changes."""

import argparse
import difflib
import getpass
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import crypt, redact, settings
from pipeline.chains import jobs
from pipeline.chains.jobs import PREFIX
from pipeline.cli import output, terminal
from pipeline.errors import CheckError, PipelineError, ProblemsError, StepError, UsageError
from pipeline.nomad import policies, server
from pipeline.nomad.server import Server
from pipeline.settings import Auth, Settings
from pipeline.vault import transit

# What luigi.cfg of the nodes takes from the environment of a job; here only its other lines matter.
OF_A_JOB = {"VAULT_ROLE": "pipeline-check", "NOMAD_SECRETS_DIR": "/secrets"}
# What Nomad signs with.
ALGORITHMS = ["RS256", "EdDSA"]
ADDRESS, JWKS = "http://127.0.0.1:4646", "/.well-known/jwks.json"


def main(arguments: Sequence[str]) -> int:
    """Do it. Return 0 once Vault is as the settings ask, or with --plan 4 if it is not."""
    parser = argparse.ArgumentParser(
        prog="bin/vault-setup",
        description="Give each job of Nomad for luigi.cfg a policy and a role of its own in Vault. "
        "It prints each change, and may be run again at any time. It needs a token that may write "
        "policies and auth methods: VAULT_TOKEN, or typed when asked. The token is not stored.",
    )
    parser.add_argument("--plan", action="store_true", help="only print the changes; 4 if there are any")
    parser.add_argument(
        "--remove",
        action="store_true",
        help="remove the policies and roles of jobs that are no longer wanted",
    )
    parser.add_argument(
        "--namespace",
        default=os.environ.get("NOMAD_NAMESPACE") or "default",
        help="Nomad's namespace (default: NOMAD_NAMESPACE, here %(default)s)",
    )
    parser.add_argument(
        "--jwks-url",
        default=os.environ.get("NOMAD_ADDR", ADDRESS).rstrip("/") + JWKS,
        help="Nomad's public keys, as Vault reaches them (default: below NOMAD_ADDR, here %(default)s)",
    )
    parser.add_argument(
        "--jwks-ca",
        type=Path,
        default=os.environ.get("NOMAD_CACERT"),
        metavar="FILE",
        help="the certificate of the authority of that address (default: NOMAD_CACERT)",
    )
    parsed = parser.parse_args(arguments)
    redact.install()
    output.outlive_the_reader()
    for name, value in OF_A_JOB.items():
        os.environ.setdefault(name, value)
    try:
        return _run(parsed)
    except PipelineError as error:
        sys.stderr.write(f"vault-setup: {error}\n")
        return error.exit_code


def _run(parsed: argparse.Namespace) -> int:
    configured = settings.read()
    if configured.vault.auth != Auth.JWT:
        raise UsageError(
            "luigi.cfg: [vault] auth is not jwt, which the jobs need to log in",
            hint="see docs/operations.md",
        )
    token = os.environ.get("VAULT_TOKEN") or getpass.getpass("Token for Vault: ")
    vault = server.vault(configured.vault.url, token)
    mount = configured.vault.auth_mount
    changes = _mounted(vault, mount, _believed(parsed), plan=parsed.plan)
    for path, body, before, after in _differences(vault, configured, mount, parsed.namespace):
        if before != after:
            changes += 1
            _show(path, before, after)
            if not parsed.plan:
                vault.call("POST", path, body)
    changes += _signing(vault, configured, plan=parsed.plan)
    for path in _unwanted(vault, configured, mount):
        changes += parsed.remove
        terminal.print_text(
            f"- {path}: belongs to no job of luigi.cfg" + ("" if parsed.remove else " (--remove removes it)")
        )
        if parsed.remove and not parsed.plan:
            vault.call("DELETE", path)
    terminal.print_text(
        f"{changes} {'would change' if parsed.plan else 'changed'}" if changes else "nothing to change"
    )
    return CheckError.exit_code if parsed.plan and changes else 0


def _believed(parsed: argparse.Namespace) -> Mapping[str, Any]:
    """Return whose tokens count. Raise UsageError without the file of the authority."""
    authority = ""
    if parsed.jwks_ca and parsed.jwks_url.startswith("https:"):
        try:
            authority = Path(parsed.jwks_ca).read_text(encoding="utf-8")
        except OSError as error:
            raise UsageError(f"--jwks-ca {parsed.jwks_ca}: {error.strerror}") from None
    return {"jwks_url": parsed.jwks_url, "jwks_ca_pem": authority, "jwt_supported_algs": ALGORITHMS}


def _mounted(vault: Server, mount: str, believed: Mapping[str, Any], *, plan: bool) -> int:
    """Have the auth method that believes Nomad. Return how many changes that takes."""
    known = vault.get("sys/auth")["data"]
    config = vault.get(f"auth/{mount}/config") if f"{mount}/" in known else None
    if config and all(_same(config["data"].get(key), value) for key, value in believed.items()):
        return 0
    by = " (private authority)" if believed["jwks_ca_pem"] else ""
    terminal.print_text(f"+ auth/{mount}: trusts the tokens signed by {believed['jwks_url']}{by}")
    if not plan:
        if f"{mount}/" not in known:
            vault.call("POST", f"sys/auth/{mount}", {"type": "jwt", "description": "Jobs of Nomad"})
        _believe(vault, mount, believed)
    return 1


def _believe(vault: Server, mount: str, believed: Mapping[str, Any]) -> None:
    """Have Vault go by these keys, which it fetches at once, and says no more than that it could not."""
    try:
        vault.call("POST", f"auth/{mount}/config", believed)
    except StepError as error:
        hint = f"Vault itself must reach {believed['jwks_url']} (--jwks-url)"
        if believed["jwks_url"].startswith("https:"):
            whose = (
                "may be signed by another authority"
                if believed["jwks_ca_pem"]
                else "may be signed by a private authority"
            )
            hint += f", and trust its certificate, which {whose}: name the authority with --jwks-ca FILE"
        raise StepError(error.fact, hint=hint) from None


def _signing(vault: Server, configured: Settings, *, plan: bool) -> int:
    """Have the keys that sign backups. Return how many changes that takes.

    The lines that the file lacks here are told each time: without them no backup is made.
    Raise ProblemsError, once all the others are there, for those that cannot sign or could sign elsewhere.
    """
    backup, mount = configured.backup, configured.vault.transit
    if backup is None or backup.signers is None:
        return 0
    changes, wrong = 0, list[str]()
    known = crypt.read_signers(backup.signers, may_lack=True)
    if f"{mount}/" not in vault.get("sys/mounts")["data"]:
        changes += 1
        terminal.print_text(f"+ {mount}: the transit engine, whose keys sign backups")
        if not plan:
            vault.call("POST", f"sys/mounts/{mount}", {"type": "transit"})
    for database in sorted(configured.databases):
        path = f"{mount}/keys/{configured.vault.signing_key(database)}"
        key = vault.get(path)
        if key and (faults := transit.faults(path, key["data"])):
            wrong += faults
            continue
        if not key:
            changes += 1
            terminal.print_text(f"+ {path}: signs the backups of {database}")
            if plan:
                continue
            vault.call("POST", path, {"type": transit.TYPE})
            key = vault.get(path)
        there = transit.public_keys(key["data"])
        for line in known.lacking(database, there):
            terminal.print_text(f"  write this line into {backup.signers}: {line}")
        wrong += known.unknown(database, there, path)
    if wrong:
        # Theirs to remove: what they have signed counts no more without them.
        raise ProblemsError(wrong)
    return changes


def _same(now: Any, wanted: Any) -> bool:
    return (now.strip() if isinstance(now, str) else now) == (
        wanted.strip() if isinstance(wanted, str) else wanted
    )


def _differences(
    vault: Server, configured: Settings, mount: str, namespace: str
) -> Iterator[tuple[str, Any, str, str]]:
    """Yield of each policy and role where it is, what to write, and how it reads before and after."""
    for job in jobs.wanted(configured):
        path, text = f"sys/policies/acl/{job.id}", policies.policy(configured, job)
        known = vault.get(path)
        yield path, {"policy": text}, known["data"]["policy"] if known else "", text
        path, role = f"auth/{mount}/role/{job.id}", policies.role(job, namespace)
        current = vault.get(path)
        before = {key: current["data"].get(key) for key in role} if current else {}
        yield path, role, _lines(before), _lines(role)


def _lines(role: Mapping[str, Any]) -> str:
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in sorted(role.items()))


def _show(path: str, before: str, after: str) -> None:
    now, then = before.splitlines(), after.splitlines()
    terminal.print_text("\n".join(difflib.unified_diff(now, then, f"{path} (now)", path, lineterm="", n=1)))


def _unwanted(vault: Server, configured: Settings, mount: str) -> Iterator[str]:
    ids = {job.id for job in jobs.wanted(configured)}
    for folder in ("sys/policies/acl", f"auth/{mount}/role"):
        listed = vault.call("LIST", folder)
        for name in listed["data"]["keys"] if listed else ():
            if name.startswith(PREFIX) and name not in ids:
                yield f"{folder}/{name}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
