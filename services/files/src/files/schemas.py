"""Request and response bodies."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal
from unicodedata import category, normalize
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from common.access import abilities
from common.database import Row
from common.fields import ClientId, RequestBody

URLS_AT_ONCE = 100
"""Parts, or files, that one answer has URLs for."""

NAME_BYTES = 255
"""What file systems hold."""
BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Overrides of the writing direction make `gpj.exe` look like `exe.jpg` (CVE-2009-3376)."""


def _name(name: str) -> str:
    name = normalize("NFC", name.strip())
    if name in ("", ".", ".."):
        raise ValueError("must be a name")
    if "/" in name or "\\" in name:
        raise ValueError("must be a name without a path")
    if any(category(one) in ("Cc", "Cs", "Zl", "Zp") or one in BIDI for one in name):
        raise ValueError("must not contain control characters")
    if len(name.encode()) > NAME_BYTES:
        raise ValueError(f"must not be longer than {NAME_BYTES} bytes")
    return name


Name = Annotated[str, StringConstraints(max_length=1000), AfterValidator(_name)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$"), Field(description="SHA-256 of the bytes, hex")]
MediaType = Annotated[
    str, StringConstraints(to_lower=True, max_length=127, pattern=r"^[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+$")
]


class State(StrEnum):
    """Whether the bytes may be had: `scanning` first, then one of the others."""

    SCANNING = "scanning"
    READY = "ready"
    REJECTED = "rejected"


class UploadCreate(RequestBody):
    """A file about to be uploaded; with `document_id` it belongs to that document, without to the workspace."""

    workspace_id: UUID
    filename: Name
    size: Annotated[int, Field(ge=0, le=2**53, description="Bytes; at most 5 GiB")]
    content_type: MediaType
    sha256: Sha256
    document_id: UUID | None = None
    id: ClientId | None = Field(default=None, description="The file's id, if the client makes it (UUID v4 or v7)")


class PartsWanted(RequestBody):
    """Parts to have URLs for."""

    part_numbers: Annotated[list[Annotated[int, Field(ge=1, le=10_000)]], Field(min_length=1, max_length=URLS_AT_ONCE)]


class FileUpdate(RequestBody):
    """What to change."""

    filename: Name


class FilesWanted(RequestBody):
    """Files to have URLs for."""

    ids: Annotated[list[UUID], Field(min_length=1, max_length=URLS_AT_ONCE)]


class AttachmentCreate(RequestBody):
    """A file and the document it is attached to."""

    file_id: UUID
    document_id: UUID


class ContextFileCreate(RequestBody):
    """A file for the AI to read along: for the caller alone, for a document, or for everybody in the workspace."""

    file_id: UUID
    scope: Literal["user", "document", "workspace"]
    document_id: UUID | None = Field(default=None, description="Of scope document")


class SignedRequest(BaseModel):
    """A request that can be made until it expires; `headers` are to be sent exactly."""

    part_number: int
    method: str
    url: str
    headers: dict[str, str]
    size: int


class UploadBegun(BaseModel):
    """Where to send the bytes; or, if `deduplicated`, that they need not be sent."""

    file_id: UUID
    deduplicated: bool
    upload_id: UUID | None = None
    mode: Literal["single", "multipart"] | None = None
    part_size: int | None = None
    parts: int | None = Field(default=None, description="How many parts there are")
    urls: list[SignedRequest] | None = Field(default=None, description="Of the first parts")
    expires_at: datetime | None = None


class PartReceived(BaseModel):
    """A part that has arrived whole."""

    part_number: int
    size: int


class UploadRead(BaseModel):
    """How far an upload is."""

    upload_id: UUID
    file_id: UUID
    state: Literal["open", "verifying", "completed", "failed", "aborted", "expired"]
    problem: str | None
    filename: str
    mode: Literal["single", "multipart"]
    size: int
    part_size: int
    parts: int
    received: list[PartReceived]
    expires_at: datetime


class SignedParts(BaseModel):
    """Where to send parts."""

    urls: list[SignedRequest]


class FileRead(BaseModel):
    """A file, what was found in it and what the caller may do with it."""

    id: UUID
    workspace_id: UUID
    filename: str
    size: int
    content_type: str
    sha256: str
    state: State
    problem: str | None = Field(description="Why it was rejected, or what could not be made of it")
    version: int
    width: int | None
    height: int | None
    pages: int | None
    tokens: int | None
    thumbnails: list[int] = Field(description="Longest sides, in pixels")
    owner_id: UUID
    created_at: datetime
    updated_at: datetime
    abilities: dict[str, bool]


class FilePage(BaseModel):
    """Files of a workspace, newest first."""

    items: list[FileRead]
    next_cursor: str | None


class FileUrl(BaseModel):
    """Where a file's bytes are for some seconds; null if it is not (yet) given out or not there."""

    id: UUID
    url: str | None
    expires_at: datetime | None


class FileUrls(BaseModel):
    """URLs for a page full of images, in the order asked for."""

    items: list[FileUrl]


class AttachmentRead(BaseModel):
    """A file at a document."""

    id: UUID
    document_id: UUID
    created_by: UUID
    created_at: datetime
    file: FileRead


class AttachmentPage(BaseModel):
    """All files at a document."""

    items: list[AttachmentRead]


class ContextFileRead(BaseModel):
    """A file the AI reads along."""

    id: UUID
    scope: Literal["user", "document", "workspace"]
    document_id: UUID | None
    created_by: UUID
    created_at: datetime
    file: FileRead


class ContextFilePage(BaseModel):
    """Context files of a workspace."""

    items: list[ContextFileRead]
    next_cursor: str | None


class TextPage(BaseModel):
    """Text of a page, or of a section where there are no pages."""

    number: int
    text: str
    tokens: int


class FileText(BaseModel):
    """Text of a file, page by page, as far as the tokens asked for go."""

    file_id: UUID
    pages: list[TextPage]
    tokens: int = Field(description="Of these pages")
    total_tokens: int
    truncated: bool


class Usage(BaseModel):
    """What a workspace stores, in bytes."""

    workspace_id: UUID
    used: int
    reserved: int = Field(description="Of uploads under way")
    limit: int
    available: int


def file(row: Row) -> dict[str, Any]:
    """A row as `FileRead`."""
    same = (
        "id", "workspace_id", "size", "state", "problem", "version", "width", "height", "pages", "tokens",
        "thumbnails", "owner_id", "created_at", "updated_at",
    )  # fmt: skip
    return {
        **{name: row[name] for name in same}, "filename": row["name"], "content_type": row["media_type"],
        "sha256": bytes(row["sha256"]).hex(), "abilities": abilities(row["role"]),
    }  # fmt: skip


def attachment(row: Row) -> dict[str, Any]:
    """A row as `AttachmentRead`."""
    return {
        "id": row["attachment_id"], "document_id": row["document_id"], "created_by": row["attached_by"],
        "created_at": row["attached_at"], "file": file(row),
    }  # fmt: skip


def context_file(row: Row) -> dict[str, Any]:
    """A row as `ContextFileRead`."""
    scope = "document" if row["document_id"] else "user" if row["user_id"] else "workspace"
    same = ("id", "document_id", "created_by", "created_at")
    return {**{name: row[name] for name in same}, "scope": scope, "file": file(row["file"])}


def text(row: Row, pages: list[Row], *, truncated: bool) -> dict[str, Any]:
    """Pages as `FileText`."""
    shown = [{"number": page["number"], "text": page["content"], "tokens": page["tokens"]} for page in pages]
    return {
        "file_id": row["id"], "pages": shown, "tokens": sum(page["tokens"] for page in pages),
        "total_tokens": row["tokens"], "truncated": truncated,
    }  # fmt: skip


def upload(row: Row, parts: int, received: list[dict[str, int]]) -> dict[str, Any]:
    """A row as `UploadRead`."""
    same = ("file_id", "state", "problem", "size", "part_size", "expires_at")
    return {
        **{name: row[name] for name in same}, "upload_id": row["id"], "filename": row["name"],
        "mode": "multipart" if row["store_upload"] else "single",
        "parts": parts, "received": received,
    }  # fmt: skip
