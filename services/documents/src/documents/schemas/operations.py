"""Operations of devices, as sync hands them in (docs/sync.md, section 4); each is judged alone."""

from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Discriminator, Field, StringConstraints, Tag, TypeAdapter, model_validator

from common.fields import ClientId, Line, Title

from . import Content, Kind, Language, Position

MAX_OPERATIONS = 100
MAX_BODIES = 2_000
MAX_DEADLINE_MS = 20_000

Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Version = Annotated[int, Field(ge=0, le=2**53)]


class Operation(BaseModel):
    """What all have; fields a later client may send are ignored."""

    model_config = ConfigDict(extra="ignore")

    op_id: ClientId
    n: Annotated[int, Field(ge=1, le=2**53)]
    id: UUID


class CreateDocument(Operation):
    """A document, with an id the client made."""

    entity: Literal["document"]
    type: Literal["create"]
    id: ClientId
    workspace_id: UUID
    title: Title
    parent_id: UUID | None = None
    content: Content = ""
    content_hash: Hash | None = None
    kind: Kind = Kind.PROSEMIRROR
    language: Language | None = None
    position: Position | None = None


class UpdateDocument(Operation):
    """The text a user made of the one with `base_hash`, which the client knows as version `base_version`."""

    entity: Literal["document"]
    type: Literal["update"]
    base_version: Version
    base_hash: Hash | None = None
    content: Content
    content_hash: Hash | None = None


class ChangeMeta(Operation):
    """Title (of a folder: its name) or language; a field left out stays as it is."""

    entity: Literal["document", "folder"]
    type: Literal["meta"]
    base_version: Version | None = None
    title: Title = ""
    language: Language | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.entity == "folder" and ("language" in self.model_fields_set or not self.title):
            raise ValueError("a folder has a title, and no language")
        return self

    def fields(self) -> dict[str, Any]:
        """What is to be set."""
        return self.model_dump(include=self.model_fields_set & {"title", "language"})


class Move(Operation):
    """Into a folder (null: the top), behind the sibling `after` (without: at the end)."""

    entity: Literal["document", "folder"]
    type: Literal["move"]
    base_version: Version | None = None
    parent_id: UUID | None
    after: UUID | None = None


class Bin(Operation):
    """Into the trash, or out of it."""

    entity: Literal["document", "folder"]
    type: Literal["delete", "restore"]
    base_version: Version | None = None


class CreateFolder(Operation):
    """A folder, with an id the client made."""

    entity: Literal["folder"]
    type: Literal["create"]
    id: ClientId
    workspace_id: UUID
    title: Line
    parent_id: UUID | None = None
    position: Position | None = None


class Resolve(Operation):
    """Settle a conflict: the document gets the copy's text, `content`, or stays; the copy goes to the trash."""

    entity: Literal["document"]
    type: Literal["resolve"]
    op_id: UUID
    copy_id: UUID
    choice: Literal["mine", "theirs", "text"]
    base_version: Version | None = None
    copy_version: Version | None = None
    content: Content | None = None


def _kind(value: Any) -> str | None:
    entity, type_ = (value.get("entity"), value.get("type")) if isinstance(value, dict) else (None, None)
    if type_ in ("meta", "move"):
        return str(type_)
    if type_ in ("delete", "restore"):
        return "bin"
    return f"{entity}.{type_}"


AnyOperation = Annotated[
    Annotated[CreateDocument, Tag("document.create")]
    | Annotated[UpdateDocument, Tag("document.update")]
    | Annotated[ChangeMeta, Tag("meta")]
    | Annotated[Move, Tag("move")]
    | Annotated[Bin, Tag("bin")]
    | Annotated[CreateFolder, Tag("folder.create")]
    | Annotated[Resolve, Tag("document.resolve")],
    Discriminator(_kind),
]
OPERATION: TypeAdapter[Operation] = TypeAdapter(AnyOperation)


class SentOperation(BaseModel):
    """An operation as it came: only what it is called must be readable."""

    model_config = ConfigDict(extra="allow")

    op_id: UUID
    n: Annotated[int, Field(ge=1, le=2**53)]

    def as_sent(self) -> dict[str, Any]:
        """All its fields."""
        return {**(self.model_extra or {}), "op_id": str(self.op_id), "n": self.n}


class Operations(BaseModel):
    """A device's next operations; those up to number `known_up_to` must have been seen before."""

    device_id: UUID | None
    known_up_to: Version
    deadline_ms: Annotated[int, Field(ge=0, le=MAX_DEADLINE_MS)]
    ops: Annotated[list[SentOperation], Field(max_length=MAX_OPERATIONS)]


class OperationResults(BaseModel):
    """A result for each, in order; none, and nothing done, if the device has been `forked`."""

    results: list[dict[str, Any]]
    forked: bool


class Bodies(BaseModel):
    """Content versions of documents."""

    items: Annotated[list[tuple[UUID, Version]], Field(max_length=MAX_BODIES)]


class Texts(BaseModel):
    """`<document>:<version>` -> text, of those the user may read and that are small."""

    bodies: dict[str, str]
