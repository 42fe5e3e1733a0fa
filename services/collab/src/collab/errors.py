"""What can go wrong here, by cause; `close` is how a socket is told (4400-4499: stay away, 4500-4599: come again)."""

from typing import ClassVar

from common.errors import (
    BadRequestError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    ServiceError,
    TooLargeError,
    UnauthorizedError,
    UnavailableError,
)

BAD_FRAME = 4400
REVOKED = 4401
FORBIDDEN = 4403
GONE = 4404
STALE_LINEAGE = 4409
TOO_LARGE = 4413
TRY_AGAIN = 4500
TICKET_EXPIRED = 4501
OVERLOADED = 4503


def close_code(error: ServiceError) -> int:
    """How a socket is told of an error; what is not known to be final may be tried again."""
    return getattr(error, "close", TRY_AGAIN)


class FrameInvalidError(BadRequestError):
    """A message that cannot be read, or that its protocol does not allow."""

    close: ClassVar[int] = BAD_FRAME
    code = "frame_invalid"
    title = "The message is not valid"


class UpdateInvalidError(BadRequestError):
    """Not a Yjs update (encoding 1), or not a state vector."""

    close: ClassVar[int] = BAD_FRAME
    code = "update_invalid"
    title = "The Yjs update is not valid"


class UpdateIncompleteError(ConflictError):
    """The update builds on others that are not here: send everything since the state vector of `GET …/state`."""

    code = "update_incomplete"
    title = "The update builds on others that are missing"


class UpdateTooLargeError(TooLargeError):
    """A message or the document with it would be larger than allowed."""

    close: ClassVar[int] = TOO_LARGE
    code = "update_too_large"
    title = "The update is too large"


class KindMismatchError(BadRequestError):
    """The document is for the other kind of editor."""

    close: ClassVar[int] = BAD_FRAME
    code = "kind_mismatch"
    title = "The document is of another kind"


class TicketInvalidError(UnauthorizedError):
    """Not a ticket of ours, or one signed by a key that not every process knows yet: fetch another one."""

    close: ClassVar[int] = TICKET_EXPIRED
    code = "ticket_invalid"
    title = "The ticket is not valid"


class TicketForeignError(UnauthorizedError):
    """A ticket for another document."""

    close: ClassVar[int] = FORBIDDEN
    code = "ticket_foreign"
    title = "The ticket is for another document"


class TicketExpiredError(UnauthorizedError):
    """Fetch a new one: POST /v1/collab/documents/{id}/ticket."""

    close: ClassVar[int] = TICKET_EXPIRED
    code = "ticket_expired"
    title = "The ticket has expired"


class SessionEndedError(UnauthorizedError):
    """The session the ticket belongs to was ended."""

    close: ClassVar[int] = REVOKED
    code = "session_revoked"
    title = "The session has been ended"


class DocumentNotFoundError(NotFoundError):
    """No such document, or none the caller may know of, or one in the trash."""

    close: ClassVar[int] = GONE
    code = "document_not_found"
    title = "No such document"


class ActionForbiddenError(ForbiddenError):
    """The caller may read the document, not change it."""

    close: ClassVar[int] = FORBIDDEN
    code = "action_forbidden"
    title = "Your role does not allow this"


class LineageStaleError(ConflictError):
    """The client's copy belongs to a former life of the document: keep its work as a file, drop the copy, open anew."""

    close: ClassVar[int] = STALE_LINEAGE
    code = "lineage_stale"
    title = "The local copy belongs to a former life of the document"


class StateDamagedError(UnavailableError):
    """What is stored of a document is not complete. It is not served, and never taken for empty."""

    code = "state_damaged"
    title = "The document's state cannot be read"


class LogUnavailableError(UnavailableError):
    """Nothing can be kept at the moment, so nothing is accepted."""

    code = "log_unavailable"
    title = "Edits cannot be saved at the moment"


class OverloadedError(UnavailableError):
    """Too many clients in one document, or too many documents on one socket."""

    close: ClassVar[int] = OVERLOADED
    code = "overloaded"
    title = "Too many connections"


class SlowReaderError(UnavailableError):
    """The client did not read for ten seconds; it comes again and is told the rest."""

    code = "slow_reader"
    title = "The client does not keep up"


class DrainingError(UnavailableError):
    """This process is about to stop; another one serves the document."""

    code = "draining"
    title = "The server is being restarted"


class WorkspaceNotFoundError(NotFoundError):
    """No such workspace, or none the caller belongs to."""

    code = "workspace_not_found"
    title = "No such workspace"


class ReopenedError(UnavailableError):
    """The document is read anew; come again."""

    code = "reopened"
    title = "The document is being opened anew"


class HandInRefusedError(ConflictError):
    """Documents did not take the copy; the reason is its code."""

    code = "hand_in_refused"
    title = "The copy could not be kept"
