"""Request and response bodies."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from fractional_indexing import FIError, validate_order_key
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from common.access import Role, abilities
from common.fields import ClientId, Line, RequestBody, Title


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
    POSITION = "position"


def _role(value: str) -> str:
    if value == Role.GUEST:
        raise ValueError("guests are made by inviting them; a grant is one of the other roles")
    return value


def _order_key(value: str) -> str:
    try:
        validate_order_key(value)
    except (FIError, IndexError):
        raise ValueError("must be a fractional index") from None
    return value


Position = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9]+$", max_length=200),
    AfterValidator(_order_key),
    Field(description="Place among siblings: a fractional index"),
]
GrantRole = Annotated[Role, AfterValidator(_role)]
Principal = Annotated[
    str,
    StringConstraints(pattern=r"^(user|group):[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"),
    Field(description="`user:<id>` or `group:<id>`"),
]


class DocumentCreate(RequestBody):
    """A new document; `id` may be made by a client that works offline (UUID v4 or v7)."""

    workspace_id: UUID
    title: Title
    folder_id: UUID | None = None
    position: Position | None = None
    content: Content = ""
    id: ClientId | None = None
    language: Language | None = None
    kind: Kind = Kind.PROSEMIRROR
    restricted: bool = Field(default=False, description="Whether nobody but its author may know of it at first")


class DocumentUpdate(RequestBody):
    """Metadata to change; a field left out stays as it is."""

    title: Title = ""
    language: Language | None = None
    folder_id: UUID | None = Field(default=None, description="null: the top of the workspace")
    position: Position = ""
    restricted: bool = Field(default=False, description="Whether only who is granted a role here may know of it")


class DocumentMove(RequestBody):
    """Where to: into a folder (null: the top), behind the sibling `after` (null: at the end)."""

    folder_id: UUID | None
    after: UUID | None = None
    workspace_id: UUID | None = Field(default=None, description="Another workspace; without, the one it is in")


class DocumentDuplicate(RequestBody):
    """What the copy is called and where it goes; without, beside the original."""

    title: Title = ""
    folder_id: UUID | None = None
    id: ClientId | None = None


class FolderCreate(RequestBody):
    """A new folder; `id` may be made by a client that works offline (UUID v4 or v7)."""

    workspace_id: UUID
    name: Line
    parent_id: UUID | None = None
    id: ClientId | None = None
    position: Position | None = None


class FolderUpdate(RequestBody):
    """What to change; a field left out stays as it is. `parent_id` null is the top, `after` a sibling to lie behind."""

    name: Line = ""
    parent_id: UUID | None = None
    position: Position = ""
    after: UUID | None = None


class FolderMove(RequestBody):
    """Where to: into a folder (null: the top), behind the sibling `after` (null: at the end)."""

    parent_id: UUID | None
    after: UUID | None = None
    workspace_id: UUID | None = Field(default=None, description="Another workspace; without, the one it is in")


class FolderDuplicate(RequestBody):
    """What the copy is called and where it goes; without, beside the original."""

    name: Line = ""
    parent_id: UUID | None = None
    id: ClientId | None = None


class AccessUpdate(RequestBody):
    """Rules of its own: what is left out stays as it is."""

    restricted: bool | None = Field(default=None, description="Whether what is above counts no longer")
    grants: Annotated[dict[Principal, GrantRole], Field(max_length=500)] | None = None


class GrantUpdate(RequestBody):
    """A user's or group's role here and below."""

    role: GrantRole


class AccessRequestCreate(RequestBody):
    """Which role one asks for, and why."""

    role: GrantRole = Role.VIEWER
    message: Annotated[str, StringConstraints(strip_whitespace=True, max_length=500, pattern=r"^[^\x00]*$")] = ""


class AccessRequestDecision(RequestBody):
    """The role to give; the one asked for if left out."""

    role: GrantRole | None = None


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


class Deletion(RequestBody):
    """How something is deleted."""

    permanent: bool = Field(default=False, description="For good, once it is in the trash")


class DocumentRead(BaseModel):
    """A document's head and what the caller may do with it."""

    id: UUID
    workspace_id: UUID
    folder_id: UUID | None
    position: str
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
    restricted: bool = Field(description="Whether only who is granted a role here may know of it")
    role: str = Field(description="The caller's role here")
    abilities: dict[str, bool]
    content: str | None = Field(default=None, description="Only with ?include=content")


class DocumentSaved(DocumentRead):
    """Head after a content write; `merged` if others had written since the base."""

    merged: bool


class DocumentPage(BaseModel):
    """A page of a list."""

    items: list[DocumentRead]
    next_cursor: str | None


class FolderRead(BaseModel):
    """A folder's head and what the caller may do with it."""

    id: UUID
    workspace_id: UUID
    parent_id: UUID | None
    name: str
    position: str
    version: int
    created_at: datetime
    created_by: UUID
    updated_at: datetime
    updated_by: UUID
    trashed_at: datetime | None
    restricted: bool = Field(description="Whether only who is granted a role here may know of it")
    role: str = Field(description="The caller's role here")
    abilities: dict[str, bool]


class FolderPage(BaseModel):
    """A page of folders."""

    items: list[FolderRead]
    next_cursor: str | None


class FolderTree(FolderRead):
    """A folder with what lies in it, by position; `truncated` if there is more than 10,000 of either."""

    folders: list["FolderTree"]
    documents: list[DocumentRead]
    truncated: bool | None = Field(default=None, description="Only at the top of the answer")


class GrantSource(BaseModel):
    """The folder or document a right was given at."""

    kind: Literal["folder", "document"]
    id: UUID


class GrantRead(BaseModel):
    """One grant that counts here."""

    model_config = ConfigDict(populate_by_name=True)

    principal: str
    name: str | None
    role: Role
    inherited: bool
    source: GrantSource = Field(alias="from")


class AccessRead(BaseModel):
    """Who may do what here, and where that comes from."""

    id: UUID
    kind: Literal["folder", "document"]
    version: int = Field(description="Of its own rules; 0 if it never had any")
    restricted: bool
    workspace_members: bool = Field(description="Whether members have their role in the workspace here too")
    role: Role = Field(description="The caller's role here")
    grants: list[GrantRead]


class AccessAsked(BaseModel):
    """What whoever asks is told, whatever there is."""

    status: Literal["asked"] = "asked"


class AccessRequestRead(BaseModel):
    """An open request for access."""

    id: UUID
    node_id: UUID
    user_id: UUID
    display_name: str | None
    role: Role
    message: str
    created_at: datetime


class AccessRequestPage(BaseModel):
    """A page of open requests, oldest first."""

    items: list[AccessRequestRead]
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
    origin: str = Field(description="create, save, edit, restore, duplicate, conflict or live")
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


def _abilities(head: dict[str, Any]) -> dict[str, bool]:
    """Whoever made a document may give it access rules, as long as it has none and they may edit it."""
    found = abilities(head["role"])
    return {**found, "manage": True} if head["made_it"] and found["edit"] else found


def wanted_copy(body: DocumentDuplicate | FolderDuplicate) -> dict[str, Any]:
    """What a caller says about a copy: `name`, `place`, `id`; what is left out is up to the service."""
    words = {"title": "name", "folder_id": "place", "parent_id": "place"}
    return {words.get(name, name): value for name, value in body.model_dump(exclude_unset=True).items()}


def document(head: dict[str, Any]) -> JsonObject:
    """`DocumentRead` of a row; built without a model since it is on every hot path."""
    return {
        "id": head["id"],
        "workspace_id": head["workspace_id"],
        "folder_id": head["shown_folder_id"],
        "position": head["position"],
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
        "restricted": head["restricted"],
        "role": head["role"],
        "abilities": _abilities(head),
    }


def folder(head: dict[str, Any]) -> JsonObject:
    """`FolderRead` of a row."""
    return {
        "id": head["id"],
        "workspace_id": head["workspace_id"],
        "parent_id": head["shown_parent_id"],
        "name": head["name"],
        "position": head["position"],
        "version": head["version"],
        "created_at": head["created_at"],
        "created_by": head["created_by"],
        "updated_at": head["updated_at"],
        "updated_by": head["updated_by"],
        "trashed_at": head["trashed_at"],
        "restricted": head["restricted"],
        "role": head["role"],
        "abilities": abilities(head["role"]),
    }


def tree(found: dict[str, Any]) -> JsonObject:
    """`FolderTree` of what `FolderService.tree` found."""

    def nested(head: dict[str, Any]) -> JsonObject:
        inside = found["children"][head["id"]]
        return {
            **folder(head),
            "folders": [nested(row) for row in inside["folders"]],
            "documents": [document(row) for row in inside["documents"]],
        }

    return {**nested(found["head"]), "truncated": found["truncated"]}


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
