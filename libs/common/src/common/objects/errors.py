"""What can go wrong with an object, an upload or a signed URL, by cause."""

from common.errors import (
    BadRequestError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    PreconditionFailedError,
    ServiceError,
    UnavailableError,
)


class ObjectStoreUnavailableError(UnavailableError):
    """The object store cannot be written or read; nothing was changed."""

    code = "object_store_unavailable"
    title = "The object store is not reachable"


class ObjectMissingError(NotFoundError):
    """No object under this key, or no such upload."""

    code = "object_missing"


class ObjectExistsError(PreconditionFailedError):
    """The key has an object, and objects never change."""

    code = "object_exists"
    title = "The object is there already"


class PartsMismatchError(ConflictError):
    """The parts named are not those that were received, or not in order."""

    code = "parts_mismatch"
    title = "The parts are not those that were received"


class BodySizeMismatchError(BadRequestError):
    """The body is not as long as the URL was signed for; nothing is kept of it."""

    code = "body_size_mismatch"
    title = "The body has another size than announced"


class ChecksumMismatchError(BadRequestError):
    """The body has another SHA-256 than the URL was signed for; nothing is kept of it."""

    code = "checksum_mismatch"
    title = "The body has another checksum than announced"


class UrlInvalidError(ForbiddenError):
    """Not a URL of ours, or one that was tampered with."""

    code = "url_invalid"
    title = "The URL is not valid"


class UrlExpiredError(ForbiddenError):
    """Ask for a new one."""

    code = "url_expired"
    title = "The URL has expired"


class UrlMethodError(ServiceError):
    """The URL is for another method; `Allow` names it (RFC 9110 section 15.5.6)."""

    status_code = 405
    code = "url_method_mismatch"
    title = "The URL is for another method"

    def __init__(self, allowed: str) -> None:
        super().__init__(headers={"Allow": allowed})


class RangeUnsatisfiableError(ServiceError):
    """The range begins behind the end of the object, `size` bytes long (RFC 9110 section 15.5.17)."""

    status_code = 416
    code = "range_unsatisfiable"
    title = "The range is not within the object"

    def __init__(self, size: int) -> None:
        super().__init__(headers={"Content-Range": f"bytes */{size}"})
