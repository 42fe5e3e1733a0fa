"""Response bodies."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, Field


class Ticket(BaseModel):
    """A ticket for one document, and what its owner may do there."""

    ticket: str = Field(description="As `?ticket=` good for 60 s, as subprotocol or Hocuspocus token until it expires")
    expires_in: int = Field(description="Seconds")
    url: str = Field(description="Path of the y-websocket endpoint")
    hocuspocus_url: str = Field(description="Path of the Hocuspocus endpoint; the document's id is its name there")
    kind: str = Field(description="`prosemirror`: XmlFragment `default`; `text`: Y.Text `content`")
    role: str
    can_edit: bool


class Person(BaseModel):
    """Somebody who has a document open."""

    document_id: UUID
    id: UUID
    name: str
    edits: bool


class People(BaseModel):
    """Who is there now."""

    people: list[Person]


class Written(BaseModel):
    """An update is durable."""

    seq: int = Field(description="The log's newest entry by then")


class Copy(BaseModel):
    """What was handed in is kept."""

    document_id: UUID | None = Field(description="The document that holds it; null if this one says the same")


class Status(BaseModel):
    """How a live document stands against its versions."""

    document_id: UUID
    kind: str
    live: bool = Field(description="Whether it was ever opened live")
    lineage: int
    seq: int = Field(description="Newest entry of the update log")
    exported_seq: int = Field(description="Entries up to this one are in a version")
    content_version: int = Field(description="Newest content version that is in the live document")
    newest_content_version: int = Field(description="Newest content version heard of")
    clients: int = Field(description="People who have it open")
    changed_at: datetime | None
    lag_ms: int = Field(description="Age of the oldest edit that is in no version yet; 0 if there is none")
