"""What can go wrong here, by cause."""

from common.errors import ConflictError, ForbiddenError, GoneError, NotFoundError, TooLargeError, UnprocessableError


class ActionForbiddenError(ForbiddenError):
    """The caller's role does not allow this."""

    code = "action_forbidden"
    title = "Your role does not allow this"


class NoSuchFileError(NotFoundError):
    """No such file, or none the caller may know of."""

    code = "file_not_found"
    title = "No such file"


class FileIdTakenError(ConflictError):
    """A file of this id exists already."""

    code = "file_exists"
    title = "There is a file of this id"


class UploadNotFoundError(NotFoundError):
    """No such upload, or somebody else's."""

    code = "upload_not_found"
    title = "No such upload"


class DocumentNotFoundError(NotFoundError):
    """No such document, or none the caller may know of."""

    code = "document_not_found"
    title = "No such document"


class WorkspaceNotFoundError(NotFoundError):
    """No such workspace, or none of the caller's."""

    code = "workspace_not_found"
    title = "No such workspace"


class AttachmentNotFoundError(NotFoundError):
    """No such attachment, or none the caller may know of."""

    code = "attachment_not_found"
    title = "No such attachment"


class DocumentElsewhereError(UnprocessableError):
    """The document lies in another workspace than the one named."""

    code = "document_elsewhere"
    title = "The document is in another workspace"


class FileTooLargeError(TooLargeError):
    """More than a file may hold."""

    code = "file_too_large"
    title = "The file is too large"


class QuotaExceededError(ConflictError):
    """The workspace's storage is full; `available` is what is left, in bytes."""

    code = "quota_exceeded"
    title = "The workspace's storage is full"


class UploadIncompleteError(ConflictError):
    """Parts are missing or have another length; `parts` are their numbers. The upload can go on."""

    code = "upload_incomplete"
    title = "The upload is not complete"


class UploadInProgressError(ConflictError):
    """Somebody completes this upload right now; ask again."""

    code = "upload_in_progress"
    title = "The upload is being completed"

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "1"})


class UploadClosedError(GoneError):
    """The upload was aborted, has expired or failed: begin a new one."""

    code = "upload_closed"
    title = "The upload is over"


class ChecksumMismatchError(UnprocessableError):
    """The bytes are not those announced: the upload is over, nothing was kept."""

    code = "checksum_mismatch"
    title = "The bytes have another SHA-256 than announced"


class SizeMismatchError(UnprocessableError):
    """More or fewer bytes than announced: the upload is over, nothing was kept."""

    code = "size_mismatch"
    title = "The file has another size than announced"


class TypeMismatchError(UnprocessableError):
    """The bytes are of another type than announced: the upload is over, nothing was kept."""

    code = "type_mismatch"
    title = "The bytes are not of the announced type"


class FileNotReadyError(ConflictError):
    """The file is still being examined; ask again."""

    code = "file_not_ready"
    title = "The file is being examined"

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "1"})


class FileRejectedError(ForbiddenError):
    """The file was found harmful and is not given out; `problem` says why."""

    code = "file_rejected"
    title = "The file was rejected"


class NoThumbnailError(NotFoundError):
    """There is no preview of this file."""

    code = "no_thumbnail"
    title = "The file has no thumbnail"


class NoTextError(UnprocessableError):
    """The file has no text that can be read; `problem` says why."""

    code = "no_text"
    title = "The file has no text"


class ContextFileNotFoundError(NotFoundError):
    """No such context file, or none the caller may know of."""

    code = "context_file_not_found"
    title = "No such context file"


class ContextScopeError(UnprocessableError):
    """A context file of scope document names a document, others do not."""

    code = "context_scope_invalid"
    title = "Scope and document do not fit"


class FileInUseError(ConflictError):
    """The file is attached where the caller may not edit, so it stays."""

    code = "file_in_use"
    title = "The file is attached elsewhere"


class VersionStaleError(ConflictError):
    """Somebody else changed the file; `version` is the current one."""

    status_code = 412
    code = "version_stale"
    title = "The file has changed"
