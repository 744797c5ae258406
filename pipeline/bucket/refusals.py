"""What went wrong at B2: which errors pass by themselves, and what to do about the others, in words."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import requests
from b2sdk.v3.exception import (
    AccessDenied,
    B2Error,
    BadDateFormat,
    BadRequest,
    BucketIdNotFound,
    CapExceeded,
    ClockSkew,
    FileNotPresent,
    FileSha1Mismatch,
    InvalidAuthToken,
    NonExistentBucket,
    PartSha1Mismatch,
    RestrictedBucket,
    RestrictedBucketMissing,
    Unauthorized,
    UnknownHost,
)

from pipeline.errors import PipelineError, StepError, UnreachableError
from pipeline.redact import redact

# So much of what B2, or a proxy in between, says is quoted.
QUOTED_LENGTH = 500


class KeyRefusedError(B2Error):  # type: ignore[misc] # the SDK is untyped
    """B2 does not let the key in at all."""


class GarbledError(B2Error):  # type: ignore[misc]
    """What came was said to be well, and is not an answer of B2's: from a proxy in between, mostly."""


class LimitError(GarbledError):
    """No whole answer came in time, or one that is larger than any of B2's."""


class SourceError(B2Error):  # type: ignore[misc]
    """Carries an error of our own through the SDK, which lets only its own kind pass."""

    def __init__(self, error: PipelineError) -> None:
        super().__init__(str(error))
        self.error = error


# A token that ended: the session has logged in again meanwhile, or said that it cannot (KeyRefusedError).
# A hash that did not match: bytes that were damaged on their way.
PASSING = (
    requests.RequestException,
    InvalidAuthToken,
    UnknownHost,
    PartSha1Mismatch,
    FileSha1Mismatch,
    GarbledError,
)
STAYING = (SourceError, KeyRefusedError, ClockSkew, BadDateFormat, Unauthorized)

# What is refused, after "could not ...: "; the first that fits is told.
REFUSED: tuple[tuple[type[Exception], str], ...] = (
    (CapExceeded, "a cap of the account is reached; raise it in B2's console"),
    (AccessDenied, "B2 denies it: the object is locked until its retention ends"),
    (FileNotPresent, "there is no such object; see 'pipeline backups'"),
)


@contextlib.contextmanager
def passing_through() -> Iterator[None]:
    """Wrap our errors so that they come through the SDK unharmed; `Who.explain` unwraps them."""
    try:
        yield
    except PipelineError as error:
        raise SourceError(error) from None


def transient(error: Any) -> bool:
    """Return whether the same request can succeed a little later."""
    if isinstance(error, PASSING):
        return True
    if isinstance(error, STAYING):
        return False
    if isinstance(error, BadRequest):
        return "sha1" in str(error).lower() or "checksum" in str(error).lower()
    return bool(error.should_retry_http() or error.should_retry_upload())


def reason(error: Exception) -> str:
    """Return why a request failed that will be made again."""
    if isinstance(error, LimitError):
        return str(error)
    if isinstance(error, InvalidAuthToken):
        return "the token has expired"
    if isinstance(error, requests.RequestException):
        return "the connection was lost"
    return f"B2 sent an unexpected answer ({_quoted(error)})"


def _quoted(error: Exception) -> str:
    return redact(str(error))[:QUOTED_LENGTH]


@dataclass(frozen=True)
class Who:
    """Whose request it was: the words for an error name the bucket and the key, never its secret."""

    bucket_name: str
    key_id: str
    account_info: Any

    def explain(self, error: Exception, what: str, needs: str | tuple[str, ...]) -> PipelineError:
        """Return one of our errors for one of the SDK's. `what` completes "could not ..."."""
        if isinstance(error, SourceError):
            own: PipelineError = error.error
            return own
        problem = self._out_of_reach(error, what, needs)
        if problem is not None:
            return UnreachableError(f"bucket {self.bucket_name}: {problem}")
        explained = [words for kind, words in REFUSED if isinstance(error, kind)]
        words = explained[0] if explained else _quoted(error)
        if isinstance(error, BadRequest) and "file lock" in words.lower():
            words = "the bucket has no Object Lock; run 'pipeline check --fix' with an admin key"
        return StepError(f"bucket {self.bucket_name}: could not {what}: {words}")

    def _out_of_reach(self, error: Exception, what: str, needs: str | tuple[str, ...]) -> str | None:
        match error:
            case KeyRefusedError():
                return (
                    f"B2 refuses key {self.key_id}: it is wrong, deleted or expired; make a new key and "
                    "put it into Vault"
                )
            case RestrictedBucketMissing() | NonExistentBucket() | BucketIdNotFound():
                return "there is no such bucket; make it, or fix [backup] bucket"
            case RestrictedBucket():
                return f"key {self.key_id} is for another bucket; make a key for this one"
            case Unauthorized():
                return self._not_allowed(what, (needs,) if isinstance(needs, str) else needs)
            case ClockSkew():
                seconds = abs(error.clock_skew_seconds)
                return f"this machine's clock is {seconds:.0f} seconds off, which B2 refuses; set the clock"
        return None

    def _not_allowed(self, what: str, needs: tuple[str, ...]) -> str:
        allowed = self.account_info.get_allowed()
        missing = [capability for capability in needs if capability not in allowed["capabilities"]]
        if missing:
            why = f"it lacks {', '.join(missing)}; make a key with that capability"
        elif allowed["namePrefix"]:
            why = (
                f"it is limited to names that start with {allowed['namePrefix']!r}; make a key for this name"
            )
        else:
            why = f"B2 wants more than {', '.join(needs)}; make another key"
        return f"key {self.key_id} may not {what}: {why}"
