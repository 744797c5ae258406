"""Who may call what: application keys, tokens and the capability that each call of the API needs."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from typing import Any

from b2sdk.v3 import ALL_CAPABILITIES
from b2sdk.v3.exception import BadRequest, InvalidAuthToken, Unauthorized

from pipeline.sandbox.b2.storage import Storage

TOKEN_LIFETIME_MILLISECONDS = 24 * 60 * 60 * 1000


@dataclass(frozen=True)
class Key:
    """An application key. Of its secret only a hash is kept."""

    key_id: str
    name: str
    secret_sha256: str
    capabilities: tuple[str, ...]
    expires_at_milliseconds: int | None = None
    bucket_ids: tuple[str, ...] | None = None
    name_prefix: str | None = None

    def described(self, account_id: str) -> dict[str, Any]:
        """Return the key as b2_list_keys shows it."""
        return {
            "accountId": account_id,
            "applicationKeyId": self.key_id,
            "keyName": self.name,
            "capabilities": list(self.capabilities),
            "bucketIds": None if self.bucket_ids is None else list(self.bucket_ids),
            "namePrefix": self.name_prefix,
            "expirationTimestamp": self.expires_at_milliseconds,
            "options": ["s3"],
        }

    def get_allowed(self) -> dict[str, Any]:
        """Return what the simulator asks of a key: its capabilities."""
        return {"capabilities": list(self.capabilities)}


@dataclass(frozen=True)
class Need:
    """What a call needs of a key: a capability, and where its arguments name the bucket and the file."""

    capability: str
    name_argument: str | None = None


NEEDS = {
    "b2_cancel_large_file": Need("writeFiles"),
    "b2_copy_file": Need("writeFiles", "fileName"),
    "b2_copy_part": Need("writeFiles"),
    "b2_create_bucket": Need("writeBuckets"),
    "b2_create_key": Need("writeKeys"),
    "b2_delete_bucket": Need("deleteBuckets"),
    "b2_delete_file_version": Need("deleteFiles", "fileName"),
    "b2_delete_key": Need("deleteKeys"),
    "b2_download_file": Need("readFiles"),
    "b2_finish_large_file": Need("writeFiles"),
    "b2_get_file_info": Need("readFiles"),
    "b2_get_upload_part_url": Need("writeFiles"),
    "b2_get_upload_url": Need("writeFiles"),
    "b2_hide_file": Need("writeFiles", "fileName"),
    "b2_list_buckets": Need("listBuckets"),
    "b2_list_file_names": Need("listFiles", "prefix"),
    "b2_list_file_versions": Need("listFiles", "prefix"),
    "b2_list_keys": Need("listKeys"),
    "b2_list_parts": Need("writeFiles"),
    "b2_list_unfinished_large_files": Need("listFiles", "namePrefix"),
    "b2_start_large_file": Need("writeFiles", "fileName"),
    "b2_update_bucket": Need("writeBuckets"),
    "b2_update_file_retention": Need("writeFileRetentions", "fileName"),
}


@dataclass
class Token:
    """What an authorization token stands for; an upload token also for one bucket or large file."""

    key: Key
    expires_at_milliseconds: int
    account_token: str
    bucket_id: str | None = None
    file_id: str | None = None


@dataclass
class Access:
    """Keys and tokens of the one account. Callers hold the emulator's lock."""

    storage: Storage
    account_id: str
    keys: dict[str, Key] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key_id, body in self.storage.load("key"):
            body["capabilities"] = tuple(body["capabilities"])
            body["bucket_ids"] = None if body["bucket_ids"] is None else tuple(body["bucket_ids"])
            self.keys[key_id] = Key(**body)

    def create_key(
        self,
        name: str,
        capabilities: tuple[str, ...],
        *,
        bucket_ids: tuple[str, ...] | None = None,
        name_prefix: str | None = None,
        valid_seconds: int | None = None,
    ) -> tuple[Key, str]:
        """Make a key and return it with its secret, which is told this once only."""
        unknown = sorted(set(capabilities) - set(ALL_CAPABILITIES))
        if unknown:
            raise BadRequest(f"unknown capabilities: {', '.join(unknown)}", "bad_request")
        secret = "K005" + secrets.token_urlsafe(20)
        expires = None if valid_seconds is None else self.storage.now_milliseconds() + valid_seconds * 1000
        key = Key(
            key_id=f"005{secrets.token_hex(11)}",
            name=name,
            secret_sha256=hashlib.sha256(secret.encode()).hexdigest(),
            capabilities=capabilities,
            expires_at_milliseconds=expires,
            bucket_ids=bucket_ids,
            name_prefix=name_prefix,
        )
        self.keys[key.key_id] = key
        self.storage.save("key", key.key_id, vars(key))
        return key, secret

    def delete_key(self, key_id: str) -> Key:
        """Remove a key; its tokens stop working at once."""
        key = self.keys.pop(key_id, None)
        if key is None:
            raise BadRequest(f"application key does not exist: {key_id}", "bad_request")
        self.storage.delete("key", key_id)
        return key

    def log_in(self, key_id: str, secret: str) -> tuple[str, Key]:
        """Return a new account token for a key, if its secret is right and its time is not over."""
        key = self.keys.get(key_id)
        offered = hashlib.sha256(secret.encode()).hexdigest()
        if key is None or not hmac.compare_digest(offered, key.secret_sha256):
            raise Unauthorized("the application key or its id is wrong", "unauthorized")
        if self._expired(key):
            raise Unauthorized("the application key has expired", "unauthorized")
        token = secrets.token_urlsafe(32)
        self.tokens[token] = Token(key, self._end(key), token)
        return token, key

    def upload_token(self, account_token: str, *, bucket_id: str, file_id: str | None) -> str:
        """Return a new token that uploads into one bucket, or parts of one large file."""
        key = self.tokens[account_token].key
        token = secrets.token_urlsafe(32)
        self.tokens[token] = Token(key, self._end(key), account_token, bucket_id, file_id)
        return token

    def token(self, token: str) -> Token:
        """Return what a token stands for. Raise InvalidAuthToken if it is unknown or has expired."""
        known = self.tokens.get(token)
        if known is None or known.key.key_id not in self.keys:
            raise InvalidAuthToken("not a valid token", "bad_auth_token")
        if self.storage.now_milliseconds() >= known.expires_at_milliseconds or self._expired(known.key):
            raise InvalidAuthToken("the token has expired", "expired_auth_token")
        return known

    def expire_tokens(self) -> int:
        """End every token that was given out, and return how many there were."""
        for token in self.tokens.values():
            token.expires_at_milliseconds = 0
        return len(self.tokens)

    def check(
        self, token: str, call: str, *, bucket_id: str | None, name: str | None, capability: str | None = None
    ) -> Token:
        """Raise Unauthorized unless the token's key may make this call on this bucket and name."""
        known = self.token(token)
        if known.file_id is not None or (known.bucket_id is not None and not call.startswith("upload")):
            raise InvalidAuthToken("an upload token is for uploads only", "bad_auth_token")
        needed = capability or NEEDS[call].capability
        if needed not in known.key.capabilities:
            raise Unauthorized("the key lacks a capability that this call needs", "unauthorized")
        if known.key.bucket_ids is not None and call not in {"b2_create_bucket", "b2_create_key"}:
            allowed = bucket_id in known.key.bucket_ids
            if not allowed:
                raise Unauthorized("the key is for another bucket", "unauthorized")
        self._check_prefix(known.key, call, name)
        return known

    def _check_prefix(self, key: Key, call: str, name: str | None) -> None:
        named = NEEDS[call].name_argument is not None or name is not None
        if key.name_prefix is not None and named and not (name or "").startswith(key.name_prefix):
            raise Unauthorized("the key is for names with another prefix", "unauthorized")

    def _expired(self, key: Key) -> bool:
        expires = key.expires_at_milliseconds
        return expires is not None and self.storage.now_milliseconds() >= expires

    def _end(self, key: Key) -> int:
        end = self.storage.now_milliseconds() + TOKEN_LIFETIME_MILLISECONDS
        return min(end, key.expires_at_milliseconds or end)
