"""Events of files: what exists, what became of it, where it is attached."""

from uuid import UUID

from common.contracts import Event


class FileState(Event):
    """A file after the change; `state` is `scanning`, `ready` or `rejected`, `content_hash` the bytes' SHA-256."""

    file_id: UUID
    workspace_id: UUID
    name: str
    version: int
    size: int
    media_type: str
    content_hash: str
    state: str
    problem: str | None = None


class FileCreated(FileState):
    """A file exists: its bytes are verified, but not examined yet."""

    type = "files.file.created.v1"


class FileUpdated(FileState):
    """It has another name, or another workspace, its document's."""

    type = "files.file.updated.v1"


class FileExamined(FileState):
    """Its bytes were examined: it is given out from now on, or rejected."""

    type = "files.file.examined.v1"


class FileDeleted(FileState):
    """It exists no more."""

    type = "files.file.deleted.v1"


class AttachmentState(Event):
    """A file at a document, which lies under `access_root_id`."""

    attachment_id: UUID
    file_id: UUID
    document_id: UUID
    workspace_id: UUID
    access_root_id: UUID


class AttachmentAdded(AttachmentState):
    """A file was attached."""

    type = "files.attachment.added.v1"


class AttachmentRemoved(AttachmentState):
    """A file was taken off a document."""

    type = "files.attachment.removed.v1"
