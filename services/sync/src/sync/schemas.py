"""Request and response bodies."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from common.database import Row
from common.fields import Line, RequestBody


class LogEntry(BaseModel):
    """One event. Actor, address and data are null once they have been erased."""

    seq: int
    event_id: UUID
    type: str
    entity_id: UUID
    version: int
    at: datetime
    recorded_at: datetime
    actor: UUID | None
    session_id: UUID | None
    client_ip: str | None
    auth_method: str | None
    data: dict[str, Any] | None
    hash: str


class LogPage(BaseModel):
    """Entries, newest first."""

    items: list[LogEntry]
    next_cursor: str | None


class Verification(BaseModel):
    """Whether every entry from `after` to `seq` is what was written. `complete`: nothing follows `seq`."""

    intact: bool
    complete: bool
    after: int
    seq: int
    hash: str
    erased: int
    broken_at: int | None


def entry(row: Row) -> dict[str, Any]:
    """A row as `LogEntry`."""
    personal = row["personal"] or {}
    return {
        "seq": row["seq"],
        "event_id": row["event_id"],
        "type": row["type"],
        "entity_id": row["aggregate_id"],
        "version": row["aggregate_version"],
        "at": row["occurred_at"],
        "recorded_at": row["recorded_at"],
        **{name: personal.get(name) for name in ("actor", "session_id", "client_ip", "auth_method", "data")},
        "hash": row["hash"].hex(),
    }


MAX_OPERATIONS = 100
MAX_PAGE = 2_000
MAX_PAGE_BYTES = 4 * 1024 * 1024
PAGE = 500
MAX_WAIT_MS = 2_000
POLL_SECONDS = 25
PROTOCOL = 1
BUCKETS = 256

CursorToken = Annotated[str, StringConstraints(min_length=1, max_length=400)]
PageLimit = Annotated[int, Field(ge=1, le=MAX_PAGE)]
PageBytes = Annotated[int, Field(ge=1, le=MAX_PAGE_BYTES, description="Of inline texts; one change always fits")]
ScopeName = Annotated[str, StringConstraints(pattern=r"^[ru]:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
Sum = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]


class DevicePut(RequestBody):
    """What an installation of a client is called by its user."""

    name: Line
    platform: Annotated[Line, Field(description="`web`, `macos`, `windows`, `linux`, `ios`, `android`, `cli`…")]
    app_version: Line | None = None


class Limits(BaseModel):
    """What one request may carry, and how long a device may be away."""

    protocol: int = PROTOCOL
    max_ops: int = MAX_OPERATIONS
    max_push_bytes: int
    max_page: int = MAX_PAGE
    max_page_bytes: int = MAX_PAGE_BYTES
    inline_bytes: int
    poll_seconds: int = POLL_SECONDS
    retention_days: int


class DeviceRead(BaseModel):
    """A device; `last_n` is the number of its last operation that was taken."""

    id: UUID
    name: str
    platform: str
    app_version: str | None
    created_at: datetime
    seen_at: datetime
    last_n: int
    session_id: UUID
    limits: Limits | None = None


class DevicePage(BaseModel):
    """Devices."""

    items: list[DeviceRead]


class Operation(BaseModel):
    """One thing the user did (docs/sync.md, section 4); all but id and number is judged one by one."""

    model_config = ConfigDict(extra="allow")
    op_id: UUID
    n: Annotated[int, Field(ge=1, le=2**53)]

    def as_sent(self) -> dict[str, Any]:
        """All its fields, as JSON can have them: see `_sendable`."""
        return _sendable({**(self.model_extra or {}), "op_id": str(self.op_id), "n": self.n})


def _sendable(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields; of those that are no JSON in UTF-8 (RFC 8259) the plain ones.

    A lone surrogate, as JavaScript has where an emoji was cut in two, becomes U+FFFD as in any USVString (WebIDL),
    and so in the hash the client made. What is left out or out of range is refused with that operation, not the push.
    """
    try:
        orjson.dumps(fields)
    except TypeError:
        plain = {name: value for name, value in fields.items() if not isinstance(value, dict | list)}
        return {_well_formed(name): _plain(value) for name, value in plain.items()}
    return fields


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return _well_formed(value)
    return str(value) if isinstance(value, int) and value.bit_length() > 63 else value  # noqa: PLR2004


def _well_formed(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class PushRequest(RequestBody):
    """Operations in the order of their numbers."""

    device_id: UUID
    ops: Annotated[list[Operation], Field(min_length=1, max_length=MAX_OPERATIONS)]


class OperationResult(BaseModel):
    """What became of an operation."""

    model_config = ConfigDict(extra="allow")
    op_id: UUID
    n: int
    status: Literal["applied", "noop", "merged", "conflict", "rejected", "blocked", "retry"]
    version: int | None = None
    conflict_document_id: UUID | None = None
    code: str | None = None
    duplicate: bool = False


class PushResults(BaseModel):
    """A result for each operation, in order; `after_write` lets a pull wait for them."""

    results: list[OperationResult]
    after_write: str


class BootstrapRequest(RequestBody):
    """From the beginning, or on with a `page_token`."""

    device_id: UUID
    page_token: CursorToken | None = None
    limit: PageLimit = PAGE
    max_bytes: PageBytes = MAX_PAGE_BYTES


class PullRequest(RequestBody):
    """Where the device is; what it wrote and wants to see."""

    cursor: CursorToken
    limit: PageLimit = PAGE
    max_bytes: PageBytes = MAX_PAGE_BYTES
    after_write: Annotated[str, StringConstraints(max_length=10_000)] | None = None
    wait_ms: Annotated[int, Field(ge=0, le=MAX_WAIT_MS)] = 0


class PollRequest(RequestBody):
    """Where the device is; seconds to wait."""

    cursor: CursorToken
    timeout: Annotated[float, Field(ge=0, le=POLL_SECONDS)] = POLL_SECONDS


class PollAnswer(BaseModel):
    """Whether to pull; seconds until to ask again."""

    changed: bool
    backoff: int


class Checksum(RequestBody):
    """How many entities, and the sum of their checksums modulo 2⁶⁴ in hexadecimal."""

    count: Annotated[int, Field(ge=0)]
    sum: Sum


class VerifyRequest(RequestBody):
    """Tallies of a scope by the last byte of the entities' ids."""

    scope: ScopeName
    buckets: Annotated[list[Checksum], Field(min_length=BUCKETS, max_length=BUCKETS)] | None = None


class Change(BaseModel):
    """One change (docs/sync.md, section 3)."""

    model_config = ConfigDict(extra="allow")
    scope: ScopeName
    seq: int
    kind: Literal["upsert", "remove", "purge"]
    entity: str
    id: UUID
    version: int


class BootstrapPage(BaseModel):
    """Items, and where to go on: `page_token`, or at the end `cursor`; what may not be read any more since page 1."""

    items: list[Change]
    page_token: str | None
    cursor: str | None
    scopes_removed: list[str]
    roles: dict[str, str]
    checksums: dict[str, Checksum]


class PullPage(BaseModel):
    """Changes in the order to apply them."""

    changes: list[Change]
    cursor: str
    has_more: bool
    scopes_added: list[str]
    scopes_removed: list[str]
    roles: dict[str, str]
    checksums: dict[str, Checksum]
    read_after_write: bool | None


class Differing(BaseModel):
    """Everything one bucket holds."""

    bucket: int
    count: int
    sum: str
    changes: list[Change]


class VerifyAnswer(BaseModel):
    """The scope's number, and what differs."""

    scope: ScopeName
    seq: int
    buckets: list[Checksum] | None
    differs: list[Differing]
    more: list[int]
    """Buckets that differ too, but did not fit: ask again."""


class ScopeStatus(BaseModel):
    """Head of a scope."""

    scope: ScopeName
    seq: int
    role: str
    count: int


class Status(BaseModel):
    """How sync is doing for the caller."""

    epoch: UUID
    scopes: list[ScopeStatus]
    devices: list[DeviceRead]
    open_conflicts: int
    lag_ms: int


class ConflictRead(BaseModel):
    """A text that could not be merged: the document `copy_id` (also `id`), beside `document_id`."""

    id: UUID
    document_id: UUID
    copy_id: UUID
    title: str | None
    user_id: UUID
    device_id: UUID | None
    op_id: UUID | None
    created_at: datetime


class ConflictPage(BaseModel):
    """Conflicts, oldest first."""

    items: list[ConflictRead]
    next_cursor: str | None


class Resolution(RequestBody):
    """How to settle it; `base_version`, `copy_version`: the versions of document and copy the user saw."""

    choice: Literal["mine", "theirs", "text"]
    base_version: Annotated[int, Field(ge=1, le=2**53)] | None = None
    copy_version: Annotated[int, Field(ge=1, le=2**53)] | None = None
    content: str | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.choice == "text") != (self.content is not None):
            raise ValueError("`content` belongs to the choice `text`")
        if self.choice != "theirs" and self.base_version is None:
            raise ValueError("`base_version` is needed to change the document")
        return self


class Resolved(BaseModel):
    """The document afterwards."""

    id: UUID
    document_id: UUID
    choice: str
    version: int | None = None
    content_version: int | None = None
    content_hash: str | None = None


def device(row: Row) -> dict[str, Any]:
    """A row as `DeviceRead`."""
    names = ("id", "name", "platform", "app_version", "created_at", "seen_at", "last_n", "session_id")
    return {name: row[name] for name in names}


def conflict(row: Row) -> dict[str, Any]:
    """A row as `ConflictRead`."""
    names = ("document_id", "copy_id", "title", "user_id", "device_id", "op_id", "created_at")
    return {"id": row["copy_id"], **{name: row[name] for name in names}}
