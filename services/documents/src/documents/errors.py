"""What can go wrong here, by cause."""

from common.errors import (
    ConflictError,
    ForbiddenError,
    GoneError,
    NotFoundError,
    PreconditionFailedError,
    TooLargeError,
    UnavailableError,
    UnprocessableError,
)


class DocumentNotFoundError(NotFoundError):
    """No such document, or none the caller may know of."""

    code = "document_not_found"
    title = "No such document"


class WorkspaceNotFoundError(NotFoundError):
    """No such workspace, or none the caller belongs to."""

    code = "workspace_not_found"
    title = "No such workspace"


class FolderNotFoundError(NotFoundError):
    """No such folder, or none the caller may know of."""

    code = "folder_not_found"
    title = "No such folder"


class NodeNotFoundError(NotFoundError):
    """No such document or folder, or none the caller may know of."""

    code = "not_found"
    title = "No such document or folder"


class GrantNotFoundError(NotFoundError):
    """This user or group has no grant of its own here; an inherited one is taken back where it was given."""

    code = "grant_not_found"
    title = "No such grant here"


class AccessRequestNotFoundError(NotFoundError):
    """No open request of this id for this document or folder."""

    code = "access_request_not_found"
    title = "No such open request"


class VersionNotFoundError(NotFoundError):
    """The document has no version of this number."""

    code = "version_not_found"
    title = "No such version"


class ActionForbiddenError(ForbiddenError):
    """The caller's role does not suffice."""

    code = "role_insufficient"
    title = "Your role does not allow this"


class AccessNotTakenError(ForbiddenError):
    """An owner of the workspace may manage this, and has to take access (`PUT …/access/user:<id>`) to read it."""

    code = "access_not_taken"
    title = "You may take access to this first"


class DocumentExistsError(ConflictError):
    """A document with this client-made id exists."""

    code = "document_exists"
    title = "A document with this id exists"


class DocumentTrashedError(ConflictError):
    """The document is in the trash: restore it first."""

    code = "document_trashed"
    title = "The document is in the trash"


class DocumentNotTrashedError(ConflictError):
    """Only what is in the trash is deleted for good."""

    code = "document_not_trashed"
    title = "The document is not in the trash"


class OperationKnownError(ConflictError):
    """The operation was carried out before, or is being so: it is answered as it was then."""

    code = "operation_known"
    title = "This operation was carried out before"


class OperationReusedError(ConflictError):
    """The id was used before for something else."""

    code = "op_id_reused"
    title = "The operation's id was used for another one"


class OperationInternalError(UnprocessableError):
    """Conflicts are settled at sync, not by an operation of a device's own."""

    code = "invalid"
    title = "A device does not send this kind of operation"


class ExportReusedError(ConflictError):
    """This state of the live room was exported before, with another text."""

    code = "export_reused"
    title = "This state of the room was exported with another text"


class ContentHashMismatchError(UnprocessableError):
    """The content is not the one whose hash came with it: damaged on its way."""

    code = "content_hash_mismatch"
    title = "The content does not have the hash that came with it"


class FolderExistsError(ConflictError):
    """A folder with this client-made id exists."""

    code = "folder_exists"
    title = "A folder with this id exists"


class FolderTrashedError(ConflictError):
    """The folder is in the trash: restore it first."""

    code = "folder_trashed"
    title = "The folder is in the trash"


class FolderNotTrashedError(ConflictError):
    """Only what is in the trash is deleted for good."""

    code = "folder_not_trashed"
    title = "The folder is not in the trash"


class FolderCycleError(ConflictError):
    """A folder cannot be put into itself, or into one below it."""

    code = "folder_cycle"
    title = "A folder cannot lie in itself"


class ContentsProtectedError(ForbiddenError):
    """The folder contains something the caller may see but not delete, or take away; nothing was done."""

    code = "contents_protected"
    title = "The folder contains something you may not take away"


class LastPathError(ConflictError):
    """Nobody could manage the restricted document or folder any more."""

    code = "last_path"
    title = "Somebody must be left who can manage it"


class HasAccessError(ConflictError):
    """The caller has the role they ask for, or a stronger one."""

    code = "access_granted"
    title = "You have this access already"


class EditConflictError(PreconditionFailedError):
    """Both sides changed the same place; nothing was stored, the current version is in the answer."""

    code = "edit_conflict"
    title = "Somebody else changed the same place"


class VersionStaleError(PreconditionFailedError):
    """The base is not current and the caller asked for strict handling, or changed the same field."""

    code = "version_stale"
    title = "The document has a newer version"


class VersionAheadError(PreconditionFailedError):
    """The base is a version this document never had."""

    code = "version_unknown"
    title = "If-Match names a version this document never had"


class MergeBaseGoneError(GoneError):
    """The base is older than the versions kept for merging."""

    code = "merge_base_gone"
    title = "The base version is no longer kept"


class FolderTooDeepError(UnprocessableError):
    """Folders lie at most 64 deep in each other."""

    code = "folder_too_deep"
    title = "Folders cannot lie that deep"


class BranchTooLargeError(UnprocessableError):
    """More folders or documents than are copied, or taken to another workspace, in one go: do it in parts."""

    code = "branch_too_large"
    title = "Too much lies in the folder"


class SiblingUnknownError(UnprocessableError):
    """`after` names nothing that lies in the same folder."""

    code = "sibling_unknown"
    title = "There is no such neighbour in this folder"


class PrincipalUnknownError(UnprocessableError):
    """Grants go to members, guests and groups of the workspace."""

    code = "principal_unknown"
    title = "Not a member, guest or group of this workspace"


class TooManyGrantsError(UnprocessableError):
    """More grants than one document or folder may have: make groups."""

    code = "too_many_grants"
    title = "Too many grants"


class EditNotApplicableError(UnprocessableError):
    """`find` does not occur exactly once in the base."""

    code = "edit_not_applicable"
    title = "An edit does not fit the base version"


class ContentNotTextError(UnprocessableError):
    """Markdown is UTF-8 without NUL."""

    code = "content_not_text"
    title = "The content is not UTF-8 text"


class DocumentTooLargeError(TooLargeError):
    """The content would exceed what a save may carry; nothing was stored."""

    code = "document_too_large"
    title = "The document would be too large"


class BodyMissingError(UnavailableError):
    """The body of an existing version is not in the object store right now."""

    code = "body_missing"
    title = "The content cannot be read at the moment"


class TooManyMergesError(UnavailableError):
    """Too many large merges are waiting; nothing was stored."""

    code = "too_many_merges"
    title = "Too many large documents are being merged"


class SessionEndedError(UnavailableError):
    """The session ended while a batch of its operations was carried out; those left wait for the next one."""

    code = "session_ended"
    title = "The session has ended"


class TooManyWritersError(UnavailableError):
    """The document changed under every attempt to merge; nothing was stored."""

    code = "too_many_writers"
    title = "The document is changing too fast"


class BodyCorruptError(Exception):
    """A stored body does not have its hash: a bug or bit rot, never a client's fault."""
