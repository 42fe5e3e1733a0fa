"""Named failures and their one rendering: RFC 9457 problem details with a stable code."""

from typing import Any, ClassVar

PROBLEM_MEDIA_TYPE = "application/problem+json"


class ServiceError(Exception):
    """A failure a client can act on; `code` is API and never renamed.

    `extra` members are added to the problem body, `headers` to the response.
    """

    status_code: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Internal error"
    commits: ClassVar[bool] = False
    """Whether what was written before raising stands (ending a stolen session), instead of being rolled back."""

    def __init__(self, detail: str | None = None, *, headers: dict[str, str] | None = None, **extra: Any) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.headers = headers or {}
        self.extra = extra

    def problem(self, trace_id: str) -> dict[str, Any]:
        """Problem details members (RFC 9457 section 3)."""
        return problem(self.status_code, self.code, self.title, self.detail, trace_id, **self.extra)


def problem(status: int, code: str, title: str, detail: str, trace_id: str, **extra: Any) -> dict[str, Any]:
    """Problem details members in their fixed order."""
    return {
        "type": f"urn:mdcreator:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "trace_id": trace_id,
        **extra,
    }


class BadRequestError(ServiceError):
    """The request cannot be understood."""

    status_code = 400
    code = "bad_request"
    title = "Bad request"


class UnauthorizedError(ServiceError):
    """No or no valid credential."""

    status_code = 401
    code = "unauthorized"
    title = "Authentication required"

    def __init__(self, detail: str | None = None, **extra: Any) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"}, **extra)


class ForbiddenError(ServiceError):
    """The caller may know of the resource but not do this."""

    status_code = 403
    code = "forbidden"
    title = "Not allowed"


class NotFoundError(ServiceError):
    """No such resource, or none the caller may know of."""

    status_code = 404
    code = "not_found"
    title = "Not found"


class ConflictError(ServiceError):
    """The state of the resource does not allow this."""

    status_code = 409
    code = "conflict"
    title = "Conflict"


class GoneError(ServiceError):
    """It existed and does so no more."""

    status_code = 410
    code = "gone"
    title = "Gone"


class PreconditionFailedError(ServiceError):
    """`If-Match` names a version that is no longer current (RFC 9110 section 15.5.13)."""

    status_code = 412
    code = "precondition_failed"
    title = "The resource has changed"


class TooLargeError(ServiceError):
    """The body exceeds the limit."""

    status_code = 413
    code = "body_too_large"
    title = "Body too large"


class UnsupportedMediaTypeError(ServiceError):
    """The body's media type is not understood here."""

    status_code = 415
    code = "unsupported_media_type"
    title = "Unsupported media type"


class UnprocessableError(ServiceError):
    """The payload's shape or content is not acceptable."""

    status_code = 422
    code = "validation_error"
    title = "The request is not valid"


class PreconditionRequiredError(ServiceError):
    """A mutation of a versioned resource came without `If-Match` (RFC 6585 section 3)."""

    status_code = 428
    code = "precondition_required"
    title = "If-Match is required"


class RateLimitedError(ServiceError):
    """Too many requests; `retry_after` in seconds (RFC 6585 section 4)."""

    status_code = 429
    code = "rate_limited"
    title = "Too many requests"

    def __init__(self, detail: str | None = None, *, retry_after: float, **extra: Any) -> None:
        super().__init__(detail, headers={"Retry-After": str(max(1, round(retry_after)))}, **extra)


class UnavailableError(ServiceError):
    """A dependency is down; nothing was changed, try again (`Retry-After` in seconds)."""

    status_code = 503
    code = "service_unavailable"
    title = "Temporarily unavailable"

    def __init__(self, detail: str | None = None, *, retry_after: int = 2, **extra: Any) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)}, **extra)
