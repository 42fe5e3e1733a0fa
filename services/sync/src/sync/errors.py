"""What can go wrong here, by cause."""

from common.errors import BadRequestError, ConflictError, ForbiddenError, GoneError, NotFoundError, ServiceError


class WorkspaceNotFoundError(NotFoundError):
    """No such workspace, or none the caller belongs to."""

    code = "workspace_not_found"
    title = "No such workspace"


class EntryNotFoundError(NotFoundError):
    """The log has no entry of this number."""

    code = "entry_not_found"
    title = "No such entry"


class RoleInsufficientError(ForbiddenError):
    """Only owners and admins read a workspace's log."""

    code = "role_insufficient"
    title = "Your role does not allow this"


class RootNotFoundError(NotFoundError):
    """No folder or document of the workspace with access rules of its own has this id."""

    code = "root_not_found"
    title = "No such access root"


class ScopeNotFoundError(NotFoundError):
    """No such scope, or none the caller may read."""

    code = "scope_not_found"
    title = "No such scope"


class ConflictNotFoundError(NotFoundError):
    """No such open conflict, or none the caller may see."""

    code = "conflict_not_found"
    title = "No such open conflict"


class DeviceNotFoundError(NotFoundError):
    """The caller has no device of this id: register it first."""

    code = "device_not_found"
    title = "No such device"


class DeviceTakenError(ConflictError):
    """The id belongs to somebody else's device: make another."""

    code = "device_taken"
    title = "This device id is taken"


class TooManyDevicesError(ConflictError):
    """The caller has more devices than are kept: remove one."""

    code = "too_many_devices"
    title = "Too many devices"


class DeviceRevokedError(ForbiddenError):
    """The device was removed: it may register again under another id."""

    code = "device_revoked"
    title = "This device has been removed"


class DeviceNotBoundError(ForbiddenError):
    """The device is bound to another session: register it again after signing in."""

    code = "device_not_bound"
    title = "This device belongs to another session"


class ProtocolUnsupportedError(ServiceError):
    """The client speaks a version of the protocol this service does not."""

    status_code = 426
    code = "protocol_unsupported"
    title = "This version of the sync protocol is not supported"


class CursorInvalidError(BadRequestError):
    """Not a cursor of this service, or damaged."""

    code = "cursor_invalid"
    title = "The cursor is not valid"


class CursorNotYoursError(ForbiddenError):
    """The cursor belongs to another user or device."""

    code = "cursor_not_yours"
    title = "This cursor belongs to somebody else"


class ResyncRequiredError(GoneError):
    """The device has to bootstrap; `reason` says why, `mode` what to do with what it has (docs/sync.md)."""

    code = "resync_required"
    title = "Bootstrap again"


class DeviceGapError(ConflictError):
    """Operations before the first of these have not been taken yet."""

    code = "device_gap"
    title = "Operations are missing before these"


class DeviceForkedError(ConflictError):
    """Another copy of this device's state has used these numbers."""

    code = "device_forked"
    title = "Two devices use this id"


class PushInProgressError(ConflictError):
    """Another push of this device is being worked on."""

    code = "op_in_progress"
    title = "This device is pushing already"


class ResolutionRefusedError(ConflictError):
    """The conflict could not be settled so; nothing was changed."""

    code = "resolution_refused"
    title = "The conflict was not settled"
