"""The manifest of a backup: what the database held at the moment of the dump, and what was made of it.

It is uploaded last, when everything else was read back: a backup without one is not a backup.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.crypt import Digest, Recipient
from pipeline.errors import CheckError

CONTENT_TYPE = "application/json"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Database(_Part):
    """The database and its server. `version_number` is as the server tells it: 170010 for 17.10.

    `wal_lsn` is how far its WAL was, read after the rows: what an archive of WAL has to reach to have them;
    `superuser` is what the first one of the server is called; `connection_limit` is -1 where there is none;
    `has_acl`: whether anything was ever granted or revoked on it, for else everybody may connect. Older
    manifests have none of these, nor the system identifier, nor `icu_rules`.
    """

    name: str
    owner: str
    encoding: str
    collate: str
    ctype: str
    locale_provider: str
    locale: str | None
    size_bytes: int
    version: str
    version_number: int
    system_identifier: str | None = None
    wal_lsn: str | None = None
    superuser: str | None = None
    icu_rules: str | None = None
    connection_limit: int | None = None
    has_acl: bool | None = None


class Table(_Part):
    """A table: its rows, and their checksum, which does not depend on their order.

    The checksum is sum(hashtextextended(ROW(columns)::text COLLATE "C", 0)), a decimal number, under the
    session settings that the manifest gives.
    """

    schema_name: str
    name: str
    owner: str
    columns: tuple[str, ...]
    rows: int
    checksum: str

    @property
    def full_name(self) -> str:
        """Return schema and name, for people."""
        return f"{self.schema_name}.{self.name}"


class Sequence(_Part):
    """A sequence. It is outside the snapshot: the dump has `last_value`, read before it, or a later one."""

    schema_name: str
    name: str
    last_value: int | None


class Extension(_Part):
    """An extension with its version and schema."""

    name: str
    version: str
    schema_name: str


class Objects(_Part):
    """How many objects of a kind (table, index, view, function, constraint ...) a role owns."""

    kind: str
    owner: str
    count: int


class Need(_Part):
    """Something that only a superuser may make again: its kind (event trigger, function ...) and name."""

    kind: str
    name: str


class Missing(_Part):
    """Something of the database that is not in the dump; `by_nature` in no dump of any database."""

    kind: str
    name: str
    by_nature: bool

    @property
    def description(self) -> str:
        """Return what it is, for people."""
        return f"{self.kind} {self.name}"


class Setting(_Part):
    """What is set for sessions in the database; for those of all roles where `role` is None.

    The value may be a credential: it is encrypted, beside the roles (encrypted_properties). Older manifests
    have it.
    """

    role: str | None
    name: str
    value: str | None = Field(default=None, repr=False)


class DatabaseGrant(_Part):
    """A privilege on the database itself; `grantee` is None for everybody."""

    grantee: str | None
    privilege: Literal["CREATE", "CONNECT", "TEMPORARY"]
    grantable: bool


class LargeObjects(_Part):
    """How many large objects there are, and a checksum of number and content of each.

    Their contents are hashed in pieces of `piece_bytes`; None, in older manifests: each as a whole.
    """

    count: int
    checksum: str
    piece_bytes: int | None = None


class Contents(_Part):
    """What a database holds at one moment. `roles` own something in it, or were granted something.

    `needs` is what a restore needs a superuser for, `grantors` are roles that passed a privilege on,
    `search_path`, `settings` and `grants` are of the database itself, and `missing` is not in the dump;
    `schema_sha256` stands for all definitions. Older manifests have none of these.
    """

    database: Database
    session: Mapping[str, str]
    tables: tuple[Table, ...]
    sequences: tuple[Sequence, ...]
    extensions: tuple[Extension, ...]
    objects: tuple[Objects, ...]
    large_objects: LargeObjects
    roles: tuple[str, ...]
    needs: tuple[Need, ...] = ()
    grantors: tuple[str, ...] = ()
    search_path: str | None = None
    schema_sha256: str | None = None
    missing: tuple[Missing, ...] = ()
    settings: tuple[Setting, ...] = ()
    grants: tuple[DatabaseGrant, ...] = ()


class File(_Part):
    """A file of the backup: the name of its object, what is in it, and that encrypted."""

    name: str
    plain: Digest
    encrypted: Digest


class Times(_Part):
    """When each step began, and how long its work took."""

    dump_started_at: datetime
    dump_seconds: float
    contents_seconds: float
    encrypt_seconds: float
    upload_seconds: float
    verify_seconds: float


class Method(StrEnum):
    """How much of an object was read back."""

    ALL = "all"
    SAMPLE = "sample"


class Verification(_Part):
    """How the objects were read back: all of each, or samples of those that are huge."""

    method: Method
    verified_at: datetime


class Manifest(_Part):
    """Everything that a restore compares with."""

    version: Literal[1] = 1
    database: str
    run: str
    taken_at: datetime
    client_version: str
    compression: str
    contents: Contents
    dump: File
    globals: File
    recipients: tuple[Recipient, ...]
    times: Times
    verification: Verification
    warnings: tuple[str, ...]

    @property
    def recipients_sha256(self) -> str:
        """Return what stands for the keys that it is encrypted to: replaced or renewed ones have another.

        One that is renewed keeps its fingerprint, and may have another subkey for all that comes.
        """
        keys = sorted(f"{one.fingerprint} {one.expires_at}" for one in self.recipients)
        return hashlib.sha256("\n".join(keys).encode()).hexdigest()

    def below(self, place: str) -> "Manifest":
        """Return the manifest of the copy whose objects' names begin with `place`."""
        files = {
            "dump": self.dump.model_copy(update={"name": place + self.dump.name}),
            "globals": self.globals.model_copy(update={"name": place + self.globals.name}),
        }
        return self.model_copy(update=files) if place else self

    def to_bytes(self) -> bytes:
        """Return manifest.json."""
        return self.model_dump_json(indent=1).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> "Manifest":
        """Return the manifest that `to_bytes` gave. Raise CheckError, calling it `name`, if it is none."""
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            place = ".".join(str(key) for key in first["loc"])
            raise CheckError(
                f"{name} is not a manifest that this version can read ({place}: {first['msg']})",
                hint="use another backup, or a newer version of this program",
            ) from None


def prefix(database: str, run: str) -> str:
    """Return what the names of a backup's objects begin with."""
    return f"{database}/{run}/"


def dump_name(database: str, run: str) -> str:
    """Return the name of the dump's object."""
    return f"{prefix(database, run)}{database}.dump.gpg"


def globals_name(database: str, run: str) -> str:
    """Return the name of the object with roles and memberships."""
    return f"{prefix(database, run)}globals.sql.gpg"


def manifest_name(database: str, run: str) -> str:
    """Return the name of the manifest's object."""
    return f"{prefix(database, run)}manifest.json"
