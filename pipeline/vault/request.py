"""One connection to a Vault server: tries again while that can help, and tells failures in one sentence."""

import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any

import hvac
import requests
from hvac.exceptions import (
    BadGateway,
    Forbidden,
    InternalServerError,
    RateLimitExceeded,
    UnexpectedError,
    VaultDown,
    VaultError,
    VaultNotInitialized,
)

from pipeline import bounded_http
from pipeline.bounded_http import TooLargeError
from pipeline.errors import MISSHAPEN, LostError, Outage, UnreachableError, innermost, misfit, understood
from pipeline.redact import redact
from pipeline.retry import Attempts, RetryPolicy

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_SECONDS = 5
# For a whole answer.
READ_TIMEOUT_SECONDS = 15
# What it refuses may be quoted, but no page of a proxy.
QUOTED_LENGTH = 500
# A standby that takes over needs a few seconds. For what takes longer, steps try again by themselves.
RETRIES = RetryPolicy(give_up_after_seconds=5.0, first_wait_seconds=0.5, longest_wait_seconds=2.0)

_PASSING = (BadGateway, InternalServerError, RateLimitExceeded, UnexpectedError, VaultDown)
_PASSING_NETWORK = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


# As an outage calls it.
SERVER = "Vault"
STRANGE = "check [vault] url in luigi.cfg"

# What a refusal means, and what is to be fixed.
Refusal = tuple[str, str]


class Connection:
    """A client of the server at `url`, without a token at first."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = hvac.Client(url=url, token="", timeout=(CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS))
        bounded_http.bounded(self.client.adapter.session)
        # Logs in anew, where that can be done without a person.
        self.log_in: Callable[[], object] | None = None

    def ask(
        self,
        what: str,
        request: Callable[[], Any],
        *,
        refusals: Mapping[type[VaultError], Refusal] | None = None,
        again: bool = True,
    ) -> Any:
        """Return the answer to `request`, which asks for `what`; None where Vault answers nothing.

        `refusals` says what each of Vault's refusals means here, and what to do.
        What may pass is tried again unless `again` is False; so is what is refused because the login has
        ended, after another. Raise UnreachableError, or LostError if it may pass later.
        """
        attempts = Attempts(RETRIES)
        while True:
            try:
                answer = request()
            except TooLargeError as error:
                raise UnreachableError(f"{self._strange(what)} ({innermost(error)})", hint=STRANGE) from None
            except (VaultError, requests.RequestException) as error:
                if isinstance(error, VaultNotInitialized) or self._is_sealed(error):
                    raise UnreachableError(
                        f"Vault at {self.url} is sealed",
                        hint="unseal it (bao operator unseal)",
                        outage=Outage(SERVER),
                    ) from None
                if again and isinstance(error, Forbidden) and self._has_logged_in_anew():
                    again = False
                    continue
                passing = _may_pass(error)
                if not passing or not again or not attempts.wait(None):
                    fact, hint = self._failure(what, error, refusals or {})
                    kind = LostError if passing else UnreachableError
                    raise kind(fact, hint=hint, outage=_outage(error)) from None
                logger.info("Vault at %s: %s; trying again", self.url, type(error).__name__)
            except MISSHAPEN as error:
                # The library itself could not read it.
                raise UnreachableError(f"{self._strange(what)} ({misfit(error)})", hint=STRANGE) from error
            else:
                return self._checked(what, answer)

    def understood(self, what: str) -> contextlib.AbstractContextManager[None]:
        """Take the answer to a request for `what` apart. Raise UnreachableError if it is none of Vault's."""
        return understood(self._strange(what), STRANGE)

    def _strange(self, what: str) -> str:
        return f"{self.url} does not answer like Vault when asked for {what}"

    def _has_logged_in_anew(self) -> bool:
        """Log in again if the token is no longer known: it was revoked, or has reached its longest life."""
        log_in, self.log_in = self.log_in, None
        if log_in is None:
            return False
        try:
            self.client.auth.token.lookup_self()
        except Forbidden:
            logger.warning("the login to Vault expired before its step ended; logging in again")
            log_in()
            return True
        except (VaultError, requests.RequestException, *MISSHAPEN):
            pass  # the refusal itself is what must be told
        finally:
            self.log_in = log_in
        return False

    def close(self) -> None:
        """Close the connection. The token, if any, stays valid."""
        self.client.adapter.close()

    def _is_sealed(self, error: Exception) -> bool:
        """Whether the server answers 503 because it is sealed, as its health says; a standby does as well."""
        if not isinstance(error, VaultDown):
            return False
        try:
            answer = self.client.sys.read_health_status(method="GET")
            health = answer if isinstance(answer, dict) else answer.json()
        except (VaultError, requests.RequestException, *MISSHAPEN):
            return False
        return isinstance(health, dict) and health.get("sealed") is True

    def _checked(self, what: str, answer: Any) -> Any:
        if isinstance(answer, dict):
            return answer
        if getattr(answer, "status_code", None) == requests.codes.no_content:
            return None
        raise UnreachableError(self._strange(what), hint=STRANGE)

    def _failure(
        self,
        what: str,
        error: VaultError | requests.RequestException,
        refusals: Mapping[type[VaultError], Refusal],
    ) -> tuple[str, str]:
        """Return what failed, and what is to be fixed."""
        vault = f"Vault at {self.url}"
        if isinstance(error, requests.exceptions.SSLError):
            return (
                f"{vault}: its TLS certificate is not accepted ({_reason(error)})",
                "set VAULT_CACERT to the file of its authority, or correct [vault] url",
            )
        if isinstance(error, requests.RequestException):
            return (
                f"{vault} cannot be reached ({_reason(error)})",
                "check [vault] url, the network, and that Vault is running",
            )
        # Vault lists what it has to say over several lines; we say one.
        listed = ", ".join(error.errors or []) if isinstance(error.errors, list) else ""
        message = redact(" ".join(listed.split()))[:QUOTED_LENGTH]
        for refusal, (fact, hint) in refusals.items():
            if isinstance(error, refusal):
                return f"{vault}: {fact}" + (f" (message: {message})" if message else ""), hint
        return f"{vault} failed on {what}: {message or type(error).__name__}", "see Vault's own log"


def _may_pass(error: Exception) -> bool:
    if isinstance(error, requests.exceptions.SSLError):
        return False
    return isinstance(error, (*_PASSING, *_PASSING_NETWORK))


def _outage(error: Exception) -> Outage | None:
    """Return that Vault is out of reach, if nobody answered."""
    if isinstance(error, requests.exceptions.SSLError) or not isinstance(error, requests.RequestException):
        return None
    return Outage(SERVER)


def _reason(error: BaseException) -> str:
    """Return why nobody answered."""
    if isinstance(error, requests.ConnectTimeout):
        return f"no answer within {CONNECT_TIMEOUT_SECONDS} s"
    return innermost(error)
