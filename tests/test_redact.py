"""No credential gets out through a message, an argument of a log call or a traceback."""

import base64
import logging
from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest

from pipeline import redact

CREDENTIAL = "s3cr3t/of+this test's"


@pytest.fixture(autouse=True)
def only_this_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redact, "_registered", ())
    monkeypatch.setattr(redact, "_encoded", frozenset())
    redact.register(CREDENTIAL)


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    usual = logging.getLogRecordFactory()
    redact.install()
    yield logging.getLogger("test_redact")
    logging.setLogRecordFactory(usual)


@pytest.mark.parametrize(
    "shown",
    [
        CREDENTIAL,
        quote(CREDENTIAL, safe=""),  # in a URI, as psycopg2 and libpq show it
        "s3cr3t%2Fof%2Bthis+test%27s",  # in a form's body
    ],
)
def test_every_form_is_replaced(shown: str) -> None:
    assert redact.redact(f"before {shown} after") == "before [redacted] after"


def test_escaped_form_is_replaced() -> None:
    """A line break in a key is shown as two characters by repr()."""
    redact.register("line one\nline two")
    assert "line" not in redact.redact(repr({"key": "line one\nline two"}))


@pytest.mark.parametrize("before", ["", "a", "ab", "0051234567890000000001:"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_credential_within_base64_is_replaced_wherever_it_begins(
    before: str, encode: Callable[[bytes], bytes]
) -> None:
    """A proxy that quotes a request shows the header in which it is: Basic, and then base64."""
    redact.register("K005-a-key-of-B2-üß?>")
    header = encode(f"{before}K005-a-key-of-B2-üß?>".encode()).decode()
    assert redact.redact(f"{{'Authorization': 'Basic {header}'}}") == "{'Authorization': 'Basic [redacted]'}"


def test_short_words_stay() -> None:
    """A user name of four letters is not a credential, and would blot out half of a log."""
    redact.register("hr")
    redact.register("")
    assert redact.redact("hr.employee") == "hr.employee"


def test_whole_uri_goes_before_the_password_in_it() -> None:
    """Otherwise host and user would be left standing around the mask."""
    redact.register("long-password")
    redact.register("postgresql://u:long-password@host/db")
    assert redact.redact("to postgresql://u:long-password@host/db") == "to [redacted]"


def test_log_message_and_arguments_are_redacted(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    logger.warning("login with %s failed: %r", CREDENTIAL, {"password": CREDENTIAL})
    assert "s3cr3t" not in caplog.text
    assert "[redacted]" in caplog.text


def unreachable() -> None:
    raise ValueError(f"cannot reach https://u:{quote(CREDENTIAL, safe='')}@host")


def unknown_in_turn() -> None:
    try:
        empty: dict[str, str] = {}
        empty[CREDENTIAL]
    except KeyError as error:
        raise ValueError("outer") from error


def test_traceback_in_the_log_is_redacted(logger: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    """Exceptions of drivers and of urllib repeat addresses with their passwords."""
    try:
        unreachable()
    except ValueError:
        logger.exception("the upload failed")
    assert "ValueError: cannot reach https://u:[redacted]@host" in caplog.text
    assert "s3cr3t" not in caplog.text


def test_chained_causes_in_the_log_are_redacted(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    try:
        unknown_in_turn()
    except ValueError:
        logger.exception("failed")
    assert "KeyError" in caplog.text
    assert "s3cr3t" not in caplog.text
