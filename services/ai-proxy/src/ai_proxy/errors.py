"""What can go wrong here, by cause."""

from common.errors import (
    BadRequestError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    RateLimitedError,
    ServiceError,
    TooLargeError,
    UnavailableError,
    UnprocessableError,
)


class ActionForbiddenError(ForbiddenError):
    """The caller's role does not allow this."""

    code = "action_forbidden"
    title = "Your role does not allow this"


class DocumentNotFoundError(NotFoundError):
    """No such document, or none the caller may know of."""

    code = "document_not_found"
    title = "No such document"


class WorkspaceNotFoundError(NotFoundError):
    """No such workspace, or none of the caller's."""

    code = "workspace_not_found"
    title = "No such workspace"


class ContextFileNotFoundError(NotFoundError):
    """No such context file, or none the caller may know of."""

    code = "context_file_not_found"
    title = "No such context file"


class ContextFileUnreadableError(UnprocessableError):
    """A context file has no text, or none yet; the detail is its code in files."""

    code = "context_file_unreadable"
    title = "A context file cannot be read along"


class WorkspaceRequiredError(ForbiddenError):
    """Every call belongs to a workspace here, and which one is not clear."""

    code = "workspace_required"
    title = "Say which workspace this is for"


class PlaceInvalidError(BadRequestError):
    """`X-Workspace-Id` or `X-Document-Id` is no id."""

    code = "place_invalid"
    title = "The workspace or document is not named by its id"


class DocumentElsewhereError(UnprocessableError):
    """The document lies in another workspace than the one named."""

    code = "document_elsewhere"
    title = "The document is in another workspace"


class ContextFileElsewhereError(UnprocessableError):
    """A context file belongs to another workspace than the call."""

    code = "context_file_elsewhere"
    title = "A context file is in another workspace"


class AiOffError(ForbiddenError):
    """Whoever may decide has switched AI off here."""

    code = "ai_off"
    title = "AI is switched off here"


class ModelNotAllowedError(ForbiddenError):
    """Another model has to be used here."""

    code = "model_not_allowed"
    title = "This model may not be used here"


class ModelsUnknownError(UnavailableError):
    """Which models the workspace allows could not be found out."""

    code = "models_unknown"
    title = "Which models may be used here is not known at the moment"


class ProviderNotFoundError(NotFoundError):
    """No such provider."""

    code = "provider_not_found"
    title = "No such provider"


class OwnKeyNotFoundError(NotFoundError):
    """There is no own key."""

    code = "own_key_not_found"
    title = "No key of your own is kept for this provider"


class OperationNotFoundError(NotFoundError):
    """The path is none of those passed on."""

    code = "operation_not_found"
    title = "This path is not passed on"


class RequestRefusedError(BadRequestError):
    """The provider would take this; it cannot be counted or would be shared, so it is not passed on."""

    code = "request_refused"
    title = "This cannot be passed on"


class RequestTooLargeError(TooLargeError):
    """The request is longer than the limit."""

    code = "body_too_large"


class BudgetExceededError(RateLimitedError):
    """What this may cost at most is more than what is left."""

    code = "budget_exceeded"
    title = "The budget does not suffice"


class TooManyCallsError(RateLimitedError):
    """So many calls are under way already."""

    code = "too_many_calls"
    title = "Too many calls at once"


class TokensPerMinuteError(RateLimitedError):
    """More tokens were used than flow in each minute."""

    code = "tokens_per_minute"
    title = "Too many tokens this minute"


class BudgetChangedError(ConflictError):
    """Somebody else changed it at the same time."""

    code = "budget_changed"
    title = "The budget was changed meanwhile"


class ProviderError(ServiceError):
    """Something about the provider; `outcome` says in the ledger how the call ended."""

    outcome = "failed"


class ProviderUnreachableError(ProviderError, UnavailableError):
    """No connection, or too many failures of late."""

    code = "provider_unreachable"
    title = "The provider cannot be reached"


class ProviderTimeoutError(ProviderError):
    """It did not answer, or not go on, in time."""

    status_code = 504
    code = "provider_timeout"
    title = "The provider did not answer in time"
    outcome = "timeout"


class ProviderBrokenError(ProviderError):
    """Its answer is none, or ended in the middle."""

    status_code = 502
    code = "provider_broken"
    title = "The provider's answer cannot be used"
    outcome = "broken"


class ProviderRefusedKeyError(ProviderError):
    """It does not take the key it was asked with."""

    status_code = 502
    code = "provider_refused_key"
    title = "The provider refused our key"


class OwnKeyRefusedError(ProviderError):
    """It does not take the caller's or workspace's own key."""

    status_code = 403
    code = "own_key_refused"
    title = "The provider refused the key kept for you"


class AnswerTooLongError(ProviderError):
    """More than a call may bring."""

    status_code = 502
    code = "answer_too_long"
    title = "The answer is longer than allowed"
    outcome = "cut"


class CallEndedError(ProviderError):
    """The client has gone, or lost the right, or this process stops: nobody waits for the rest."""

    status_code = 403
    code = "call_ended"
    title = "The call was ended"
    outcome = "aborted"


class ContextTooLongError(UnprocessableError):
    """What is to be worked on does not fit into one request."""

    code = "context_too_long"
    title = "The text is too long"


class AssistIncompleteError(UnprocessableError):
    """The action needs something that was not given."""

    code = "assist_incomplete"
    title = "Something this action needs is missing"


class EditUnusableError(ProviderError):
    """The model's edit does not fit the document: each text to replace has to occur exactly once."""

    status_code = 502
    code = "edit_unusable"
    title = "The model's edit cannot be applied"
