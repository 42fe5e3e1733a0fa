"""What documents tells the fleet: ids, versions, hashes, sizes and titles; never bodies."""

from uuid import NAMESPACE_URL, UUID, uuid5

from pydantic import Field

from common.contracts import Event


class DocumentState(Event):
    """Head of a document after the change; what it was before, if it came from another root or workspace."""

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
    folder_id: UUID | None = None
    position: str | None = None
    previous_root_id: UUID | None = None
    previous_workspace_id: UUID | None = None
    trashed: bool | None = None


class DocumentCreated(DocumentState):
    """A document exists; `conflict_of` the one its text could not be merged into, `copied_from` the one duplicated."""

    type = "documents.document.created.v1"
    conflict_of: UUID | None = None
    copied_from: UUID | None = None


class DocumentUpdated(DocumentState):
    """Content, metadata, place or access root changed; `merged` if the content is a 3-way merge.

    `previous_content_version` is the content version this content follows, None if the content did not change;
    `lineage` and `seq` say which state of a live room it is, if one exported it (`origin` live).
    """

    type = "documents.document.updated.v1"
    merged: bool = False
    origin: str
    previous_content_version: int | None = None
    lineage: int | None = None
    seq: int | None = None


class DocumentTrashed(DocumentState):
    """Moved to the trash."""

    type = "documents.document.trashed.v1"


class DocumentRestored(DocumentState):
    """Taken out of the trash."""

    type = "documents.document.restored.v1"


class DocumentPurged(DocumentState):
    """Deleted for good, with all its versions: nothing of this id comes after."""

    type = "documents.document.purged.v1"


class FolderState(Event):
    """A folder after the change; what it was before, if it came from another root or workspace."""

    folder_id: UUID
    workspace_id: UUID
    access_root_id: UUID
    parent_id: UUID | None
    name: str
    position: str
    version: int
    previous_root_id: UUID | None = None
    previous_workspace_id: UUID | None = None
    trashed: bool | None = None


class FolderCreated(FolderState):
    """A folder exists."""

    type = "documents.folder.created.v1"


class FolderUpdated(FolderState):
    """Name, place or access root of a folder changed."""

    type = "documents.folder.updated.v1"
    origin: str


class FolderTrashed(FolderState):
    """Moved to the trash."""

    type = "documents.folder.trashed.v1"


class FolderRestored(FolderState):
    """Taken out of the trash."""

    type = "documents.folder.restored.v1"


class FolderPurged(FolderState):
    """Deleted for good: nothing of this id comes after."""

    type = "documents.folder.purged.v1"


def root_aggregate(root_id: UUID) -> UUID:
    """Aggregate of a root's events: its id is that of a folder or document, which has events of its own."""
    return uuid5(NAMESPACE_URL, f"urn:mdcreator:root:{root_id}")


_GRANTS = {"user:019ad3c0-0000-7000-8000-000000000001": "editor"}


class RootChanged(Event):
    """The access rules of a folder or document, whole: a lower version never overwrites a higher one.

    `removed`: it has none of its own any more, what is above counts. `change` says what was done, for the audit log.
    """

    type = "documents.root.changed.v1"
    root_id: UUID
    workspace_id: UUID
    kind: str
    parent_id: UUID
    inherits: bool
    removed: bool
    version: int
    grants: dict[str, str] = Field(description="`user:<id>` or `group:<id>` -> role", examples=[_GRANTS])
    change: str


class AccessRequestCreated(Event):
    """Somebody asks for access; for those who may give it."""

    type = "documents.access-request.created.v1"
    request_id: UUID
    workspace_id: UUID
    node_id: UUID
    user_id: UUID
    role: str


class AccessRequestDecided(Event):
    """A request for access was approved or dismissed."""

    type = "documents.access-request.decided.v1"
    request_id: UUID
    workspace_id: UUID
    node_id: UUID
    user_id: UUID
    role: str
    approved: bool
