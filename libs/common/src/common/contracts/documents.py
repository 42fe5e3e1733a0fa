"""What documents tells the fleet: ids, versions, hashes, sizes and titles; never bodies."""

from uuid import UUID

from common.contracts import Event


class DocumentState(Event):
    """Head of a document after the change."""

    document_id: UUID
    workspace_id: UUID
    access_root_id: UUID
    version: int
    content_version: int
    content_hash: str
    size: int
    title: str
    language: str | None
    kind: str


class DocumentCreated(DocumentState):
    """A document exists."""

    type = "documents.document.created.v1"


class DocumentUpdated(DocumentState):
    """Content or metadata changed; `merged` if the content is a 3-way merge."""

    type = "documents.document.updated.v1"
    merged: bool = False
    origin: str


class DocumentTrashed(DocumentState):
    """Moved to the trash."""

    type = "documents.document.trashed.v1"


class DocumentRestored(DocumentState):
    """Taken out of the trash."""

    type = "documents.document.restored.v1"
