"""The line to B2: every request goes through here, is tried again while that can help, and fails in words."""

import logging
import threading
from collections.abc import Callable
from typing import Any

import requests
from b2sdk.v3 import B2Api, B2Http, B2Session, InMemoryAccountInfo
from b2sdk.v3.exception import B2Error, Unauthorized, UnknownError

from pipeline import bounded_http, outage, redact
from pipeline.bucket import refusals
from pipeline.bucket.refusals import GarbledError, KeyRefusedError, LimitError, SourceError, Who
from pipeline.errors import MISSHAPEN, PipelineError, UnreachableError, innermost, misfit
from pipeline.retry import Attempts, RetryPolicy

logger = logging.getLogger(__name__)

DEFAULT_REALM = "production"
# What has failed for so long is no passing refusal.
WAIT_SECONDS = 10.0
# Errors of requests that the SDK does not know.
GARBLED = (
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
    requests.TooManyRedirects,
)


class OneTry(B2Http):  # type: ignore[misc]
    """The SDK's HTTP without its own retries: they sleep as long as a server says and cannot be ended."""

    CONNECTION_TIMEOUT = 20
    TIMEOUT = TIMEOUT_FOR_UPLOAD = 90

    @classmethod
    def _translate_and_retry(
        cls, fcn: Callable[[], Any], try_count: int, post_params: dict[str, Any] | None = None
    ) -> Any:
        del try_count

        def one_try() -> Any:
            # The SDK would take what a signal raises in here for a fault of the network.
            with refusals.passing_through():
                try:
                    return fcn()
                except requests.RequestException as error:
                    # The SDK has no words of its own for it.
                    if limit := bounded_http.passed_limit(error):
                        raise LimitError(limit) from None
                    if not isinstance(error, GARBLED):
                        raise
                    raise GarbledError(f"{innermost(error)}; is a proxy in between?") from None
                except MISSHAPEN as error:
                    # As of one without the date that the SDK compares with the clock.
                    raise GarbledError(f"{misfit(error)}; is a proxy in between?") from error

        try:
            return cls._translate_errors(one_try, post_params)
        except UnknownError as error:
            # So is what it raises while the SDK reads the answer.
            if isinstance(error.__context__, PipelineError):
                raise SourceError(error.__context__) from None
            raise

    def request_content_return_json(self, *arguments: Any, **named: Any) -> Any:
        """Return an answer of B2's. Raise GarbledError where something else came with a good status."""
        try:
            answer = super().request_content_return_json(*arguments, **named)
        except ValueError:
            raise GarbledError(
                "the answer is not JSON; check whether a proxy or a login page is in between"
            ) from None
        if not isinstance(answer, dict) or {"code", "message"} <= answer.keys():
            raise GarbledError(f"an error inside a reply: {answer}")
        return answer


class Session(B2Session):  # type: ignore[misc]
    """Tells a refused key from a refused call, and keeps tokens out of everything that is shown."""

    B2HTTP_CLASS = OneTry

    def authorize_account(self, realm: str, application_key_id: str, application_key: str) -> None:
        """Log in. Raise KeyRefusedError where B2 refuses the key."""
        try:
            super().authorize_account(realm, application_key_id, application_key)
        except Unauthorized as error:
            raise KeyRefusedError(error.code) from None
        redact.register(self.account_info.get_account_auth_token())


class Api(B2Api):  # type: ignore[misc]
    """The SDK with that session."""

    SESSION_CLASS = Session


class Connection:
    """An authorized key and its bucket. Thread-safe."""

    def __init__(
        self, key_id: str, application_key: str, bucket_name: str, realm: str | None, retries: RetryPolicy
    ) -> None:
        redact.register(application_key)
        self.key_id = key_id
        self.bucket_name = bucket_name
        self.realm = realm or DEFAULT_REALM
        self.retries = retries
        # In memory: the SDK's default writes the key into a file in the home folder.
        self.api = Api(InMemoryAccountInfo())
        self.session: Any = self.api.session
        bounded_http.bounded(self.session.raw_api.b2_http.session, bounded_http.BoundedAdapter(unpacks=False))
        # The SDK's name for the time limit of every JSON call.
        self.session.raw_api.b2_http.TIMEOUT_FOR_COPY = retries.answer_seconds
        self._who = Who(bucket_name, key_id, self.session.account_info)
        self._authorize(application_key)
        self.bucket_id = self._find()

    def close(self) -> None:
        """Close the sockets."""
        self.session.raw_api.b2_http.session.close()

    @property
    def capabilities(self) -> frozenset[str]:
        """What the key may do."""
        return frozenset(self.session.account_info.get_allowed()["capabilities"])

    @property
    def minimum_part_size_bytes(self) -> int:
        """The smallest part of a large file that B2 takes, but for the last."""
        return int(self.session.account_info.get_absolute_minimum_part_size())

    def call(
        self,
        what: str,
        function: Callable[[], Any],
        *,
        needs: str | tuple[str, ...],
        stop: threading.Event | None = None,
    ) -> Any:
        """Return what `function`, one request, returns; try again while that can help.

        `what` completes "could not ..."; `needs` are the capabilities that the call takes. Raise
        UnreachableError where B2 refuses our login or does not answer, StepError where it refuses.
        """
        attempts = Attempts(self.retries, stop)
        while True:
            try:
                return function()
            except (B2Error, requests.RequestException) as error:
                self.again(what, error, attempts, needs=needs)
            except MISSHAPEN as error:
                # The SDK itself could not read it.
                raise UnreachableError(
                    f"bucket {self.bucket_name}: could not {what}: {self.realm} does not answer like B2 "
                    f"({misfit(error)})",
                    hint="check whether a proxy or a login page is in between",
                ) from error

    def again(
        self,
        what: str,
        error: B2Error | requests.RequestException,
        attempts: Attempts,
        *,
        needs: str | tuple[str, ...],
    ) -> None:
        """Wait before a failed request is made again, or raise its error in words."""
        if not refusals.transient(error):
            raise self._who.explain(error, what, needs) from None
        reason = refusals.reason(error)
        if not attempts.wait(getattr(error, "retry_after_seconds", None)):
            raise UnreachableError(
                f"bucket {self.bucket_name}: could not {what}: {reason}, for {attempts.failing_seconds:.0f} "
                "seconds; gave up",
                hint="run it again: it continues there",
            ) from None
        words = f"bucket {self.bucket_name}: trying again to {what}: {reason}"
        # That B2 refuses a request now and then is its way; who waits for it is told, once a minute.
        waits = attempts.failing_seconds >= WAIT_SECONDS and outage.is_news(words)
        logger.log(logging.WARNING if waits else logging.INFO, "%s", words)

    def _authorize(self, application_key: str) -> None:
        def log_in() -> None:
            self.api.authorize_account(self.key_id, application_key, realm=self.realm)

        self.call("log in", log_in, needs=())

    def _find(self) -> str:
        def ask() -> str:
            return str(self.api.get_bucket_by_name(self.bucket_name).id_)

        bucket_id: str = self.call("find it (the key is not restricted to it)", ask, needs="listBuckets")
        return bucket_id
