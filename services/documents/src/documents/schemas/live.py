"""What live rooms are told and tell (collab, on the internal port)."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from . import Content, Kind
from .operations import Hash

MAX_VERSIONS = 1_000
MAX_CONTRIBUTORS = 10_000
MAX_HOLD_SECONDS = 1.0

Number = Annotated[int, Field(ge=0, le=2**53)]


class LiveHead(BaseModel):
    """A document as it is; `version` is what a `node:` revocation names, `access_root_id` is as of that version."""

    id: UUID
    workspace_id: UUID
    access_root_id: UUID
    kind: Kind
    version: int
    content_version: int
    content_hash: str = Field(description="SHA-256 of the Markdown bytes, hex")
    size: int = Field(description="Bytes of Markdown")
    trashed: bool
    title: str
    content: str | None = Field(description="The exact text; null if `known` is the current content version")


class LiveVersion(BaseModel):
    """One content version; `previous` is the one before it, `lineage` and `seq` the room's state if it was exported."""

    n: int
    previous: int | None
    origin: str
    lineage: int | None
    seq: int | None
    author_id: UUID
    contributors: list[UUID]
    content_hash: str
    size: int


class LiveVersions(BaseModel):
    """Content versions in order; all there are if the last one is `content_version`, the newest."""

    content_version: int
    versions: list[LiveVersion]


class LiveText(BaseModel):
    """The exact text of a content version."""

    content: str


class Export(BaseModel):
    """A room's text: state `seq` of its log `lineage`, which follows content version `base`."""

    base: Number
    lineage: Number
    seq: Number
    content: Content
    content_hash: Hash
    author_id: UUID
    contributors: Annotated[list[UUID], Field(max_length=MAX_CONTRIBUTORS)]

    def everybody(self) -> tuple[UUID, ...]:
        """The author and all others who contributed, each once."""
        return tuple(dict.fromkeys([self.author_id, *self.contributors]))


class ExportSaved(BaseModel):
    """It is the content of version `content_version` now, or was that before."""

    saved: Literal[True]
    version: int
    content_version: int


class ExportRefused(BaseModel):
    """The base is not current, nothing was stored: the current text, and at most 1,000 versions since the base."""

    saved: Literal[False]
    content_version: int
    content: str
    versions: list[LiveVersion]


class HoldRequest(BaseModel):
    """How long other writers of content are to wait."""

    seconds: Annotated[float, Field(gt=0, le=MAX_HOLD_SECONDS, allow_inf_nan=False)]


class Hold(BaseModel):
    """Until when the document is held, null if it may not be yet; from when on it may be held again."""

    until: datetime | None
    next: datetime


def head(row: dict[str, Any], content: str | None) -> dict[str, Any]:
    """`LiveHead` of a row."""
    return {
        "id": row["id"],
        "workspace_id": row["workspace_id"],
        "access_root_id": row["access_root_id"],
        "kind": row["kind"],
        "version": row["version"],
        "content_version": row["content_version"],
        "content_hash": row["body_sha256"],
        "size": row["size"],
        "trashed": row["trashed_at"] is not None,
        "title": row["title"],
        "content": content,
    }


def version(row: dict[str, Any]) -> dict[str, Any]:
    """`LiveVersion` of a row."""
    return {
        "n": row["n"],
        "previous": row["previous"],
        "origin": row["origin"],
        "lineage": row["lineage"],
        "seq": row["seq"],
        "author_id": row["author_id"],
        "contributors": row["contributors"],
        "content_hash": row["body_sha256"],
        "size": row["size"],
    }
