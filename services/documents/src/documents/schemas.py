"""Request and response bodies."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from common.access import abilities
from common.fields import ClientId, RequestBody, Title


def _text(value: str) -> str:
    if "\0" in value:
        raise ValueError("must not contain NUL")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("must not contain lone surrogates") from None
    return value


Content = Annotated[str, AfterValidator(_text)]
Language = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$", max_length=35)]


class Kind(StrEnum):
    """Which live editor the document is for."""

    PROSEMIRROR = "prosemirror"
    TEXT = "text"


class Sort(StrEnum):
    """Orders a list can have; `-` is descending."""

    UPDATED = "-updated_at"
    CREATED = "-created_at"
    TITLE = "title"


class DocumentCreate(RequestBody):
    """A new document; `id` may be made by a client that works offline (UUID v4 or v7)."""

    workspace_id: UUID
    title: Title
    content: Content = ""
    id: ClientId | None = None
    language: Language | None = None
    kind: Kind = Kind.PROSEMIRROR


class DocumentUpdate(RequestBody):
    """Metadata to change; a field left out stays as it is."""

    title: Title = ""
    language: Language | None = None


class ContentWrite(RequestBody):
    """The whole Markdown as JSON; `text/markdown` bytes are the alternative."""

    content: Content


class FindReplace(RequestBody):
    """Replace the one occurrence of `find` in the base version."""

    find: Annotated[Content, StringConstraints(min_length=1)]
    replace: Content


class Append(RequestBody):
    """Add text at the very end, exactly as given."""

    append: Content


class Prepend(RequestBody):
    """Add text at the very beginning, exactly as given."""

    prepend: Content


ContentChange = FindReplace | Append | Prepend


class ContentEdit(RequestBody):
    """Edits applied in order to the version `If-Match` names, then merged with what came since."""

    edits: Annotated[list[ContentChange], Field(min_length=1, max_length=500)]


class NoQuery(RequestBody):
    """No query parameter: one that means something elsewhere is refused, not ignored."""


class DocumentRead(BaseModel):
    """A document's head and what the caller may do with it."""

    id: UUID
    workspace_id: UUID
    title: str
    language: str | None
    kind: Kind
    version: int
    content_version: int
    content_hash: str = Field(description="SHA-256 of the Markdown bytes, hex")
    size: int = Field(description="Bytes of Markdown")
    created_at: datetime
    created_by: UUID
    updated_at: datetime
    updated_by: UUID
    trashed_at: datetime | None
    abilities: dict[str, bool]
    content: str | None = Field(default=None, description="Only with ?include=content")


class DocumentSaved(DocumentRead):
    """Head after a content write; `merged` if others had written since the base."""

    merged: bool


class DocumentPage(BaseModel):
    """A page of a list."""

    items: list[DocumentRead]
    next_cursor: str | None


class VersionRead(BaseModel):
    """One content version; its number is the document version that made it."""

    document_id: UUID
    n: int
    content_hash: str
    size: int
    title: str
    author_id: UUID
    contributors: list[UUID]
    origin: str = Field(description="create, save, edit or restore")
    base_version: int | None = Field(description="Version the author had seen")
    merged: bool
    created_at: datetime


class VersionPage(BaseModel):
    """A page of versions, newest first."""

    items: list[VersionRead]
    next_cursor: str | None


State = Literal["active", "trashed"]
Include = Literal["content"]
JsonObject = dict[str, Any]


def document(head: dict[str, Any]) -> JsonObject:
    """`DocumentRead` of a row; built without a model since it is on every hot path."""
    return {
        "id": head["id"],
        "workspace_id": head["workspace_id"],
        "title": head["title"],
        "language": head["language"],
        "kind": head["kind"],
        "version": head["version"],
        "content_version": head["content_version"],
        "content_hash": head["body_sha256"],
        "size": head["size"],
        "created_at": head["created_at"],
        "created_by": head["created_by"],
        "updated_at": head["updated_at"],
        "updated_by": head["updated_by"],
        "trashed_at": head["trashed_at"],
        "abilities": abilities(head["role"]),
    }


def version(row: dict[str, Any]) -> JsonObject:
    """`VersionRead` of a row."""
    return {
        "document_id": row["document_id"],
        "n": row["n"],
        "content_hash": row["body_sha256"],
        "size": row["size"],
        "title": row["title"],
        "author_id": row["author_id"],
        "contributors": row["contributors"],
        "origin": row["origin"],
        "base_version": row["base_version"],
        "merged": row["merged"],
        "created_at": row["created_at"],
    }
