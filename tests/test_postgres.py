"""What a connection promises, to which database it leads, and how what goes wrong on it is told."""

import os
import socket
from pathlib import Path

import pytest
from psycopg2 import sql

from pipeline import access, postgres
from pipeline.errors import ConflictError, SettingsError, StepError
from pipeline.sandbox.servers import clusters
from pipeline.system import command
from tests.support import proxies
from tests.support.night import Night
from tests.support.platforms import Sandbox


def test_rows_that_a_policy_hides_are_not_missing_without_a_word(night: Night) -> None:
    night.platform.source(
        "shop",
        "CREATE TABLE item (id int PRIMARY KEY); INSERT INTO item VALUES (1), (2);"
        "ALTER TABLE item ENABLE ROW LEVEL SECURITY; CREATE POLICY partly ON item USING (id = 1)",
        "source: shop\ntables: {item: {}}\n",
    )
    with pytest.raises(StepError) as caught:
        night.load("shop", "item")
    assert 'row-level security policy for table "item"' in str(caught.value)
    statement = f'ALTER ROLE "{night.platform.reader("shop")}" BYPASSRLS'
    assert caught.value.hint.startswith(statement)
    # The ledger, by which `next:` goes, has it as a failure with what to do, and not as a bug.
    written = "SELECT error, hint, exit_code FROM ops.step WHERE name = 'shop.item' AND task = 'ExtractTable'"
    [(fact, hint, code)] = night.ask("warehouse", written)
    assert (hint, code) == (caught.value.hint, 3)
    assert "BYPASSRLS" not in fact
    night.ask("shop", statement)
    assert night.load("shop", "item").total == 2


def test_rows_that_a_policy_hides_are_not_missing_behind_a_pooler_either(night: Night) -> None:
    """There a session may not have the setting by which they are an error, and shows a part of the rows."""
    night.platform.source(
        "shop",
        "CREATE TABLE item (id int PRIMARY KEY); INSERT INTO item VALUES (1), (2);"
        "ALTER TABLE item ENABLE ROW LEVEL SECURITY; CREATE POLICY partly ON item USING (id = 1)",
        "source: shop\ntables: {item: {}}\n",
    )
    with proxies.before(night.platform, "shop") as line:
        line.ignore("row_security")
        with pytest.raises(StepError, match='row-level security policy for table "item"') as caught:
            night.load("shop", "item")
    assert caught.value.hint.startswith(f'ALTER ROLE "{night.platform.reader("shop")}" BYPASSRLS')


def test_a_policy_of_a_partition_hides_no_row_of_its_table(night: Night) -> None:
    """A query goes by the policies of the table that it names."""
    night.platform.source(
        "shop",
        "CREATE TABLE item (id int PRIMARY KEY) PARTITION BY RANGE (id);"
        "CREATE TABLE low PARTITION OF item FOR VALUES FROM (1) TO (10); INSERT INTO item VALUES (1), (2);"
        "ALTER TABLE low ENABLE ROW LEVEL SECURITY; CREATE POLICY none ON low USING (false)",
        "source: shop\ntables: {item: {}}\n",
    )
    assert night.load("shop", "item").total == 2


def test_a_peer_that_vanishes_while_we_send_is_noticed(night: Night) -> None:
    """Keepalives are not sent while something is unanswered; that took a quarter of an hour."""
    with (
        access.opened(night.settings) as databases,
        databases.warehouse() as connection,
        socket.socket(fileno=os.dup(connection.fileno())) as line,
    ):
        milliseconds = line.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    assert milliseconds == 120_000


def test_each_of_several_problems_is_told_with_its_name() -> None:
    with pytest.raises(SettingsError) as caught, postgres.explained("shop.item"):
        raise SettingsError(["shop.item: one", "another"])
    assert caught.value.problems == ("shop.item: one", "shop.item: another")
    with pytest.raises(ConflictError, match=r"^shop\.item: in the way$"), postgres.explained("shop.item"):
        raise ConflictError("in the way")


def test_a_time_out_of_the_source_is_not_taken_for_our_own_cancel(night: Night) -> None:
    """A binary COPY that ends before it began is an error of the target too: the cause is the source's."""
    night.platform.source("shop")
    slowly = "COPY (SELECT 1 FROM pg_sleep(30)) TO STDOUT BINARY"
    with access.opened(night.settings) as databases, databases.warehouse() as target:
        postgres.rows(target, "CREATE TEMPORARY TABLE taken (n int)")
        with databases.source("shop") as source:
            postgres.rows(source, "SET statement_timeout = '300ms'")
            into = sql.SQL("COPY pg_temp.taken FROM STDIN BINARY")
            with pytest.raises(StepError, match=r"^reading the rows: .*statement timeout"):
                postgres.copy(source, sql.SQL(slowly), target, into)


def test_what_the_target_refuses_is_told_as_the_target_s(night: Night) -> None:
    night.platform.source("shop")
    refused = "COPY (SELECT n % 10 FROM generate_series(1, 1000) AS n) TO STDOUT"
    with access.opened(night.settings) as databases, databases.warehouse() as target:
        postgres.rows(target, "CREATE TEMPORARY TABLE taken (n int CHECK (n < 9))")
        with databases.source("shop") as source:
            into = sql.SQL("COPY pg_temp.taken FROM STDIN")
            with pytest.raises(StepError, match=r"^writing the rows: .*check constraint"):
                postgres.copy(source, sql.SQL(refused), target, into)


@pytest.mark.parametrize("password", ["plain", r"with:colon and\back slash ' \"", "ä€:*#%"])
def test_a_password_that_a_file_has_to_escape_lets_a_program_in(
    sandbox: Sandbox, tmp_path: Path, password: str
) -> None:
    with sandbox.connect("warehouse") as connection, connection.cursor() as cursor:
        cursor.execute("DROP ROLE IF EXISTS escaped")
        cursor.execute("CREATE ROLE escaped LOGIN PASSWORD %s", (password,))
    told = {
        "PGHOST": "127.0.0.1",
        "PGPORT": str(sandbox.home.state.ports["warehouse"]),
        "PGUSER": "escaped",
        "PGDATABASE": "postgres",
        "PGPASSWORD": password,
    }
    asked: list[str | Path] = [clusters.BINARIES / "psql", "--no-password", "-Atc", "SELECT current_user"]
    with (
        postgres.unseen(told) as (variables, kept),
        (tmp_path / "answer").open("w+b") as answer,
        command.Child(
            asked, environment=command.clean_environment(variables), output=answer.fileno(), keep_open=kept
        ) as child,
    ):
        child.finish()
        answer.seek(0)
        assert answer.read() == b"escaped\n"
